// The entries of a zip archive, read with suspicion (libzip does the reading). Used within io.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>

namespace replk {

/// A zip or zip64 archive with stored or deflated entries, of which nothing is unpacked before it is asked
/// for. Errors are FileErrors that begin with the archive's name.
class ZipArchive {
 public:
  /// Opens a file.
  explicit ZipArchive(const std::filesystem::path& path);
  /// Opens bytes, which must outlive the archive; `name` stands for the file in errors.
  ZipArchive(std::span<const std::byte> bytes, std::string name);
  ~ZipArchive();
  ZipArchive(const ZipArchive&) = delete;
  ZipArchive& operator=(const ZipArchive&) = delete;

  /// The most that may be unpacked in all: 16 times the archive and a little. Weights do not shrink that
  /// much; what claims to is a bomb.
  std::uint64_t unpacked_limit() const { return limit_; }
  struct Entry {
    std::uint64_t index, bytes;  // bytes: unpacked
  };
  /// By name. Their sizes together are within unpacked_limit().
  const std::map<std::string, Entry>& entries() const { return entries_; }
  /// Unpacks `entry.bytes` bytes to `to` and checks their CRC.
  void read(const std::string& name, const Entry& entry, void* to);

 private:
  struct Handle;
  void list(std::uint64_t file_bytes);

  std::string name_;
  std::unique_ptr<Handle> handle_;
  std::uint64_t limit_ = 0;
  std::map<std::string, Entry> entries_;
};

}  // namespace replk
