#include "io/event_file.h"

#include <fcntl.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <boost/crc.hpp>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <system_error>

#include "core/error.h"

namespace replk {
namespace {

namespace fs = std::filesystem;
using google::protobuf::io::CodedOutputStream;
using google::protobuf::io::StringOutputStream;

constexpr std::string_view kPrefix = "events.out.tfevents.";
constexpr std::int64_t kMostSeconds = 9'999'999'999;  // one digit more would sort before

// A protobuf message, field after field: the few that TensorBoard needs do not ask for generated code.
class Message {
 public:
  Message& integer(int field, std::int64_t value) {
    return write(field, 0,
                 [&](CodedOutputStream& out) { out.WriteVarint64(static_cast<std::uint64_t>(value)); });
  }
  Message& f64(int field, double value) {
    return write(field, 1, [&](CodedOutputStream& out) {
      out.WriteLittleEndian64(std::bit_cast<std::uint64_t>(value));
    });
  }
  Message& f32(int field, float value) {
    return write(field, 5, [&](CodedOutputStream& out) {
      out.WriteLittleEndian32(std::bit_cast<std::uint32_t>(value));
    });
  }
  // Text, or a message in this one.
  Message& bytes(int field, const std::string& value) {
    return write(field, 2, [&](CodedOutputStream& out) {
      out.WriteVarint32(static_cast<std::uint32_t>(value.size()));
      out.WriteString(value);
    });
  }
  const std::string& text() const { return text_; }

 private:
  template <class F>
  Message& write(int field, int wire_type, const F& value) {
    StringOutputStream stream(&text_);
    CodedOutputStream out(&stream);
    out.WriteTag(static_cast<std::uint32_t>(field << 3 | wire_type));
    value(out);
    return *this;
  }
  std::string text_;
};

// Fields of tensorflow.Event, Summary, Summary.Value and SessionLog. Source:
// tensorboard/compat/proto/event.proto and summary.proto.
Message event_at(std::int64_t step) {
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  return Message().f64(1, now.count()).integer(2, step);
}
std::string version_event() { return event_at(0).bytes(3, "brain.Event:2").text(); }
std::string start_event(std::int64_t step) {
  constexpr std::int64_t kStart = 1;
  return event_at(step).bytes(7, Message().integer(1, kStart).text()).text();
}
std::string scalar_event(std::int64_t step, const std::vector<Scalar>& scalars) {
  Message summary;
  for (const Scalar& scalar : scalars)
    summary.bytes(1, Message().bytes(1, scalar.tag).f32(2, static_cast<float>(scalar.value)).text());
  return event_at(step).bytes(5, summary.text()).text();
}

std::string little_endian(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> 8 * i & 255);
  return text;
}

// The checksum of a TFRecord: CRC-32C, rotated by 15 bits and moved by a constant.
std::string masked_crc(const std::string& data) {
  boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true> crc;
  crc.process_bytes(data.data(), data.size());
  return little_endian(std::rotr(static_cast<std::uint32_t>(crc.checksum()), 15) + 0xA282EAD8U, 4);
}

// Length, its checksum, the data, their checksum. Source: tensorflow/core/lib/io/record_writer.h.
std::string record(const std::string& data) {
  const std::string length = little_endian(data.size(), 8);
  return length + masked_crc(length) + data + masked_crc(data);
}

// Seconds for the name of a new event file: now, or just after the newest file there.
std::int64_t seconds_for(const fs::path& folder) {
  std::int64_t seconds =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
          .count();
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    std::int64_t other = 0;
    if (!name.starts_with(kPrefix)) continue;
    std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), other);
    if (other < kMostSeconds) seconds = std::max(seconds, other + 1);
  }
  return seconds;
}

std::string host_name() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 && name[0] ? name : "localhost";
}

}  // namespace

EventFile::EventFile(const fs::path& folder, std::int64_t first_step)
    : path_(folder / str(kPrefix, seconds_for(folder), ".", host_name(), ".", getpid())) {
  descriptor_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail("creating this file", errno);
  try {
    append(version_event());
    append(start_event(first_step));
  } catch (...) {
    close(descriptor_);
    unlink(path_.c_str());
    throw;
  }
}

EventFile::~EventFile() { close(descriptor_); }

void EventFile::add(std::int64_t step, const std::vector<Scalar>& scalars) {
  append(scalar_event(step, scalars));
}

void EventFile::sync() {
  if (fsync(descriptor_) != 0) fail("flushing this file", errno);
}

void EventFile::append(const std::string& event) {
  const std::string bytes = record(event);
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t written = write(descriptor_, bytes.data() + done, bytes.size() - done);
    if (written >= 0) {
      done += static_cast<std::size_t>(written);
    } else if (const int error = errno; error != EINTR) {
      // Half a record would hide all that follows it.
      if (ftruncate(descriptor_, size_) == 0) lseek(descriptor_, size_, SEEK_SET);
      fail("writing an event", error);
    }
  }
  size_ += static_cast<std::int64_t>(bytes.size());
}

void EventFile::fail(const char* action, int error) const {
  throw FileError(
      str(path_.string(), ": ", action, " failed: ", std::generic_category().message(error), "."));
}

}  // namespace replk
