#include "data/file_reader.h"

#include <zlib.h>

#include <algorithm>
#include <array>

namespace replk {
namespace {

constexpr std::int64_t kStep = 1 << 20;        // bytes by which a result grows
constexpr std::int64_t kMostPerPacked = 1032;  // deflate cannot make one byte stand for more

// Opens a regular file and returns its size.
std::int64_t open_file(const std::filesystem::path& path, std::ifstream& file) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) throw FileError(str(path.string(), ": no such file."));
  if (!std::filesystem::is_regular_file(status))
    throw FileError(str(path.string(), ": a regular file expected, this is a folder or a device."));
  const auto size = std::filesystem::file_size(path, error);
  file.open(path, std::ios::binary);
  if (error || !file) throw FileError(str(path.string(), ": cannot be opened. Check its permissions."));
  return static_cast<std::int64_t>(size);
}

}  // namespace

std::vector<std::uint8_t> read_file(const std::filesystem::path& path, std::int64_t limit) {
  std::ifstream file;
  const std::int64_t size = open_file(path, file);
  if (size > limit)
    throw FileError(str(path.string(), ": at most ", limit, " bytes expected, the file has ", size, "."));
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(size));
  file.read(reinterpret_cast<char*>(bytes.data()), size);
  if (file.gcount() != size)
    throw FileError(
        str(path.string(), ": byte ", file.gcount(), ": ", size, " bytes expected, reading stopped here."));
  return bytes;
}

struct FileReader::Inflater {
  z_stream stream{};
  bool ended = false;
  std::array<std::uint8_t, 1 << 16> packed;
  std::int64_t packed_read = 0;

  Inflater() {
    constexpr int kGzip = 15 + 16;  // the largest window, a gzip header and checksum around the data
    check(inflateInit2(&stream, kGzip) == Z_OK, "zlib: no memory to unpack a file.");
  }
  ~Inflater() { inflateEnd(&stream); }
  std::int64_t packed_position() const { return packed_read - static_cast<std::int64_t>(stream.avail_in); }
};

FileReader::FileReader(std::filesystem::path path) : path_(std::move(path)) {
  file_size_ = open_file(path_, file_);
  std::array<std::uint8_t, 2> magic{};
  const bool gzip = read_raw(magic.data(), 2) == 2 && magic[0] == 0x1f && magic[1] == 0x8b;
  file_.clear();
  file_.seekg(0);
  if (gzip) inflater_ = std::make_unique<Inflater>();
}

FileReader::~FileReader() = default;

std::int64_t FileReader::read_raw(std::uint8_t* to, std::int64_t count) {
  file_.read(reinterpret_cast<char*>(to), count);
  return file_.gcount();
}

std::int64_t FileReader::unpack(std::uint8_t* to, std::int64_t count) {
  Inflater& in = *inflater_;
  in.stream.next_out = to;
  in.stream.avail_out = static_cast<uInt>(count);
  while (in.stream.avail_out > 0 && !in.ended) {
    if (in.stream.avail_in == 0) {
      const std::int64_t got = read_raw(in.packed.data(), static_cast<std::int64_t>(in.packed.size()));
      if (got == 0) fail(in.packed_read, "(packed) more gzip data expected, the file ends here.");
      in.packed_read += got;
      in.stream.next_in = in.packed.data();
      in.stream.avail_in = static_cast<uInt>(got);
    }
    const int status = inflate(&in.stream, Z_NO_FLUSH);
    if (status != Z_OK && status != Z_STREAM_END)
      fail(in.packed_position(),
           "(packed) valid gzip data expected, zlib says: ", in.stream.msg ? in.stream.msg : "not gzip data",
           ".");
    in.ended = status == Z_STREAM_END;
  }
  return count - static_cast<std::int64_t>(in.stream.avail_out);
}

std::int64_t FileReader::fill(std::uint8_t* to, std::int64_t count) {
  return inflater_ ? unpack(to, count) : read_raw(to, count);
}

// An upper bound of the bytes that can still come, from the size of the file alone.
std::int64_t FileReader::most_left() const {
  const std::int64_t most = inflater_ ? file_size_ * kMostPerPacked : file_size_;
  return std::max<std::int64_t>(most - position_, 0);
}

std::vector<std::uint8_t> FileReader::read(std::int64_t count, const std::string& what) {
  if (count > most_left())
    fail(position_, count, " bytes of ", what, " expected, a file of ", file_size_,
         inflater_ ? " packed bytes" : " bytes", " has at most ", most_left(), " more.");
  std::vector<std::uint8_t> bytes;
  if (!inflater_) bytes.reserve(static_cast<std::size_t>(count));
  while (static_cast<std::int64_t>(bytes.size()) < count) {
    const auto had = static_cast<std::int64_t>(bytes.size());
    const std::int64_t step = std::min(count - had, kStep);
    bytes.resize(static_cast<std::size_t>(had + step));
    const std::int64_t got = fill(bytes.data() + had, step);
    position_ += got;
    if (got < step)
      fail(position_, count, " bytes of ", what, " expected, the data ends after ", had + got, ".");
  }
  return bytes;
}

std::uint32_t FileReader::read_big_endian(const std::string& what) {
  const auto bytes = read(4, what);
  return std::uint32_t{bytes[0]} << 24 | std::uint32_t{bytes[1]} << 16 | std::uint32_t{bytes[2]} << 8 |
         std::uint32_t{bytes[3]};
}

void FileReader::expect_end() {
  std::uint8_t byte = 0;
  if (fill(&byte, 1) > 0) fail(position_, "the end of the data expected, more follows.");
  if (!inflater_) return;
  if (inflater_->stream.avail_in > 0 || read_raw(&byte, 1) > 0)
    fail(inflater_->packed_position(), "(packed) the end of the file expected, more follows the gzip data.");
}

}  // namespace replk
