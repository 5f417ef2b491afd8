// Files that are either the old one or the whole new one, whatever happens in between.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string_view>

namespace replk {

/// Appends bytes to the file being written. Every failure is a FileError naming path, bytes and reason.
class FileWriter {
 public:
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }
  /// Bytes written so far.
  std::uint64_t position() const { return position_; }

 private:
  friend void write_file_atomically(const std::filesystem::path&, const std::function<void(FileWriter&)>&);
  FileWriter(int descriptor, const std::filesystem::path& path) : descriptor_(descriptor), path_(path) {}
  int descriptor_;
  const std::filesystem::path& path_;
  std::uint64_t position_ = 0;
};

/// Replaces `path` by what `writer` writes, or leaves it as it is: writes a temporary file in the same
/// folder, fsyncs it, renames it over `path` and fsyncs the folder. A symbolic link is followed, its target
/// replaced. When anything fails (disk full, no permission, an exception in `writer`) the temporary file is
/// removed, the old file is untouched and the error is thrown on. Throws FileError where `path` is no regular
/// file.
void write_file_atomically(const std::filesystem::path& path, const std::function<void(FileWriter&)>& writer);
/// The same for bytes that are there already.
void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes);
/// The same for text.
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

/// Removes the temporary files that processes left in `folder` when they were killed in the middle of a
/// write_file_atomically; those that a living process is writing stay. Returns how many it removed; a folder
/// that cannot be read has none.
int remove_leftovers(const std::filesystem::path& folder);

}  // namespace replk
