#include "io/safetensors.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <functional>
#include <system_error>
#include <vector>

#include "io/atomic_file.h"
#include "io/safetensors_header.h"

namespace replk {
namespace {

namespace fs = std::filesystem;
using namespace safetensors;

static_assert(std::endian::native == std::endian::little,
              "the format's numbers are read as they lie in memory");

/// Copies `count` bytes from byte `offset` of the file to `to`.
using ReadBytes = std::function<void(std::uint64_t offset, void* to, std::uint64_t count)>;

Safetensors parse(std::uint64_t file_bytes, const std::string& file, const ReadBytes& read) {
  if (file_bytes < kLengthBytes)
    throw FileError(
        str(file, ": byte 0: 8 bytes with the header's length expected, the file has ", file_bytes, "."));
  std::uint64_t header_bytes = 0;
  read(0, &header_bytes, kLengthBytes);
  const std::uint64_t limit = std::min(file_bytes - kLengthBytes, kMaxHeaderBytes);
  if (header_bytes > limit)
    throw FileError(str(file, ": byte 0: header length of at most ", limit, " bytes expected ",
                        limit == kMaxHeaderBytes ? "(the format's limit)" : "(the rest of the file)",
                        ", got ", header_bytes, ". Not a safetensors file, or cut off."));
  std::string json(header_bytes, ' ');
  read(kLengthBytes, json.data(), header_bytes);
  const std::uint64_t data = kLengthBytes + header_bytes;
  Header header = parse_header(json, file_bytes - data, file);
  Safetensors result{std::move(header.metadata), {}};
  for (const auto& [name, entry] : header.entries) {
    Tensor tensor = Tensor::empty(entry.shape, entry.dtype);
    read(data + entry.begin, tensor.raw(), tensor.bytes());
    result.tensors.emplace(name, std::move(tensor));
  }
  return result;
}

}  // namespace

Safetensors read_safetensors(const fs::path& path) {
  const std::string file = path.string();
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) throw FileError(str(file, ": no such file."));
  if (!fs::is_regular_file(status)) throw FileError(str(file, ": not a regular file."));
  const std::uint64_t file_bytes = fs::file_size(path, error);
  std::ifstream stream(path, std::ios::binary);
  if (error || !stream)
    throw FileError(str(file, ": cannot be opened: ", error ? error.message() : std::strerror(errno), "."));
  return parse(file_bytes, file, [&](std::uint64_t offset, void* to, std::uint64_t count) {
    stream.seekg(static_cast<std::streamoff>(offset));
    stream.read(static_cast<char*>(to), static_cast<std::streamsize>(count));
    if (!stream)
      throw FileError(str(file, ": byte ", offset, ": ", count, " bytes expected, reading them failed."));
  });
}

Safetensors parse_safetensors(std::span<const std::byte> bytes, const std::string& name) {
  return parse(bytes.size(), name, [&](std::uint64_t offset, void* to, std::uint64_t count) {
    if (count > 0) std::memcpy(to, bytes.data() + offset, count);
  });
}

void write_safetensors(const fs::path& path, const std::map<std::string, Tensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  using Named = std::map<std::string, Tensor>::value_type;
  std::vector<const Named*> order;
  for (const Named& named : tensors) {
    check(named.second.defined(), "write_safetensors: tensor \"", named.first, "\" is empty (undefined).");
    check(named.first != kMetadataKey, "write_safetensors: a tensor cannot be named ", kMetadataKey, ".");
    order.push_back(&named);
  }
  std::stable_sort(order.begin(), order.end(), [](const Named* a, const Named* b) {
    return size_of(a->second.dtype()) > size_of(b->second.dtype());
  });
  Header header{metadata, {}};
  std::uint64_t end = 0;
  for (const Named* named : order) {
    const std::uint64_t begin = end;
    end += named->second.bytes();
    header.entries.emplace(named->first, Entry{named->second.dtype(), named->second.shape(), begin, end});
  }
  std::string json = format_header(header);
  json.resize((json.size() + 7) / 8 * 8, ' ');  // the data starts at a multiple of 8 bytes
  check(json.size() <= kMaxHeaderBytes, "write_safetensors: a header of at most ", kMaxHeaderBytes,
        " bytes expected, got ", json.size(), " from ", tensors.size(), " tensors.");
  const std::uint64_t header_bytes = json.size();
  write_file_atomically(path, [&](FileWriter& file) {
    file.write(std::as_bytes(std::span(&header_bytes, 1)));
    file.write(json);
    for (const Named* named : order) {
      const Tensor host = named->second.to(Device::cpu());
      file.write(std::span(static_cast<const std::byte*>(host.raw()), host.bytes()));
    }
  });
}

}  // namespace replk
