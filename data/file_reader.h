// Reading files that may be anything: no claim inside a file is believed before the file's real size bears it
// out.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"

namespace replk {

/// All bytes of a file. Throws FileError when it cannot be opened, is not a regular file, or is larger than
/// `limit` bytes.
std::vector<std::uint8_t> read_file(const std::filesystem::path& path, std::int64_t limit);

/// Reads a file from front to back, unpacking it on the way when it starts like a gzip file.
///
/// Every error is a FileError that names the file, the byte offset (in the unpacked data, unless it says
/// "packed") and what was expected there. Memory grows with what the file really yields, never with what it
/// promises.
class FileReader {
 public:
  explicit FileReader(std::filesystem::path path);
  ~FileReader();
  FileReader(const FileReader&) = delete;
  FileReader& operator=(const FileReader&) = delete;

  /// The next `count` bytes; `what` is how an error calls them ("the pixels of 60000 images").
  std::vector<std::uint8_t> read(std::int64_t count, const std::string& what);
  /// The next four bytes as a number, the highest byte first.
  std::uint32_t read_big_endian(const std::string& what);
  /// Throws unless every byte has been read and, for a gzip file, its checksum is right.
  void expect_end();

  std::int64_t position() const { return position_; }
  const std::filesystem::path& path() const { return path_; }

  /// Throws FileError("<path>: byte <offset>: <message>").
  template <class... Message>
  [[noreturn]] void fail(std::int64_t offset, const Message&... message) const {
    throw FileError(str(path_.string(), ": byte ", offset, ": ", message...));
  }

 private:
  struct Inflater;

  std::int64_t read_raw(std::uint8_t* to, std::int64_t count);
  std::int64_t fill(std::uint8_t* to, std::int64_t count);
  std::int64_t unpack(std::uint8_t* to, std::int64_t count);
  std::int64_t most_left() const;

  std::filesystem::path path_;
  std::ifstream file_;
  std::int64_t file_size_ = 0;
  std::int64_t position_ = 0;           // bytes handed out
  std::unique_ptr<Inflater> inflater_;  // for a gzip file
};

}  // namespace replk
