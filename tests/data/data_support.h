// What the tests of the data folder share: temporary folders, files made by hand, pictures from formulas.
#pragma once

#include <zlib.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/random.h"
#include "data/dataset.h"
#include "data/image.h"

namespace replk::test {

using Bytes = std::vector<std::uint8_t>;

/// A new empty folder that goes away with the object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "replk_data_XXXXXX").string();
    if (!mkdtemp(pattern.data())) throw Error("test: no temporary folder.");
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Writes a file, making its folders; returns its path.
inline std::filesystem::path write_bytes(const std::filesystem::path& path, const Bytes& bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  return path;
}

/// The bytes as a gzip file.
inline Bytes gzip(const Bytes& bytes) {
  z_stream stream{};
  deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  Bytes packed(deflateBound(&stream, bytes.size()) + 32);
  stream.next_in = const_cast<std::uint8_t*>(bytes.data());
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = packed.data();
  stream.avail_out = static_cast<uInt>(packed.size());
  deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

/// An IDX file of unsigned bytes.
inline Bytes idx_bytes(const std::vector<std::uint32_t>& extents, const Bytes& data) {
  Bytes bytes = {0, 0, 8, static_cast<std::uint8_t>(extents.size())};
  for (const std::uint32_t extent : extents)
    for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<std::uint8_t>(extent >> shift));
  bytes.insert(bytes.end(), data.begin(), data.end());
  return bytes;
}

inline Bytes random_bytes(std::int64_t count, std::uint64_t seed) {
  Random random(seed);
  Bytes bytes(static_cast<std::size_t>(count));
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random.next());
  return bytes;
}

inline Image random_image(std::int64_t height, std::int64_t width, std::int64_t channels,
                          std::uint64_t seed) {
  return {height, width, channels, random_bytes(height * width * channels, seed)};
}

/// `count` random pictures of one size; labels go round the classes "a", "b", "c".
inline std::shared_ptr<const Dataset> random_dataset(std::int64_t count, std::int64_t height,
                                                     std::int64_t width, std::int64_t channels) {
  Bytes labels;
  for (std::int64_t i = 0; i < count; ++i) labels.push_back(static_cast<std::uint8_t>(i % 3));
  return std::make_shared<MemoryDataset>("random", std::vector<std::string>{"a", "b", "c"}, height, width,
                                         channels, random_bytes(count * height * width * channels, 7),
                                         labels);
}

}  // namespace replk::test
