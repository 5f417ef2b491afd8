#include "io/atomic_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <system_error>
#include <utility>

#include "core/error.h"

namespace replk {
namespace {

namespace fs = std::filesystem;

constexpr const char* kUntouched = " What was there before is untouched.";

constexpr std::string_view kPrefix = ".replk-", kSuffix = ".tmp";

// Why, and what to do about it, as sentences.
std::string reason(int error) {
  const std::string text = std::generic_category().message(error) + ".";
  switch (error) {
    case ENOSPC:
      return text + " The disk is full: free some space on it and try again.";
    case EDQUOT:
      return text + " Your share of the disk is used up: free some space and try again.";
    case EFBIG:
      return text + " No file may be as large here ('ulimit -f' says how large).";
    default:
      return text;
  }
}

/// The temporary file: closed and removed at the end of the scope unless it was renamed into place.
class TemporaryFile {
 public:
  explicit TemporaryFile(const fs::path& target) : target_(target) {
    static std::atomic<unsigned> counter{0};
    do {
      // A short name of its own: the target's name may already be as long as the file system allows.
      path_ = target.parent_path() / str(kPrefix, getpid(), "-", counter++, kSuffix);
      descriptor_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    } while (descriptor_ < 0 && errno == EEXIST);
    if (descriptor_ < 0) {
      const int error = errno;
      throw FileError(str(target_.string(), ": cannot create a file in its folder: ", reason(error)));
    }
    flock(descriptor_, LOCK_EX | LOCK_NB);  // until the file is closed, were it by the end of the process
  }

  ~TemporaryFile() {
    if (descriptor_ >= 0) close(descriptor_);
    if (!renamed_) unlink(path_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  int descriptor() const { return descriptor_; }

  /// `bytes` is for the message only.
  void replace_target(std::uint64_t bytes) {
    require(fsync(descriptor_) == 0, "flushing ", bytes);
    // Network file systems report a full disk as late as here.
    require(close(std::exchange(descriptor_, -1)) == 0, "closing ", bytes);
    require(rename(path_.c_str(), target_.c_str()) == 0, "renaming the temporary file of ", bytes);
    renamed_ = true;
  }

 private:
  void require(bool ok, const char* action, std::uint64_t bytes) const {
    if (ok) return;
    const int error = errno;
    throw FileError(str(target_.string(), ": ", action, bytes, " bytes failed: ", reason(error), kUntouched));
  }

  const fs::path& target_;
  fs::path path_;
  int descriptor_ = -1;
  bool renamed_ = false;
};

// Where the bytes must go: the end of a chain of links, which must be absent or a regular file. Renaming over
// a device (/dev/null) would replace it.
fs::path target_of(const fs::path& path) {
  std::error_code error;
  const fs::path target = fs::weakly_canonical(path, error);
  if (error) throw FileError(str(path.string(), ": cannot be written: ", error.message(), "."));
  const fs::file_status status = fs::status(target, error);
  if (fs::exists(status) && !fs::is_regular_file(status))
    throw FileError(str(path.string(), ": expected a regular file or nothing, got ",
                        fs::is_directory(status) ? "a folder." : "something else (a device, a pipe)."));
  if (target.filename().empty()) throw FileError(str(path.string(), ": expected the name of a file."));
  return target;
}

// Makes the rename itself survive a power cut. Some file systems cannot sync a folder and say so: nothing to
// do about it.
void sync_folder(const fs::path& folder) {
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;  // a folder that may be written but not listed
  const int error = fsync(descriptor) == 0 ? 0 : errno;
  close(descriptor);
  if (error == EIO) throw FileError(str(folder.string(), ": flushing the folder failed: ", reason(error)));
}

}  // namespace

void FileWriter::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      const int error = errno;
      throw FileError(str(path_.string(), ": writing ", bytes.size(), " bytes at byte ", position_,
                          " failed: ", reason(error), kUntouched));
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    position_ += static_cast<std::uint64_t>(written);
  }
}

void write_file_atomically(const fs::path& path, const std::function<void(FileWriter&)>& writer) {
  const fs::path target = target_of(path);
  {
    TemporaryFile file(target);
    FileWriter to(file.descriptor(), target);
    writer(to);
    file.replace_target(to.position());
  }
  sync_folder(target.parent_path());
}

void write_file_atomically(const fs::path& path, std::span<const std::byte> bytes) {
  write_file_atomically(path, [bytes](FileWriter& file) { file.write(bytes); });
}

void write_file_atomically(const fs::path& path, std::string_view text) {
  write_file_atomically(path, [text](FileWriter& file) { file.write(text); });
}

int remove_leftovers(const fs::path& folder) {
  int removed = 0;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) continue;
    // (O_NONBLOCK: were it a pipe, opening it would wait for somebody to write.)
    const int descriptor = open(entry->path().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (descriptor < 0) continue;
    // The lock of a process ends with it.
    if (flock(descriptor, LOCK_EX | LOCK_NB) == 0) removed += unlink(entry->path().c_str()) == 0;
    close(descriptor);
  }
  return removed;
}

}  // namespace replk
