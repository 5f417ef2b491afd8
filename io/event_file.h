// EventFile: numbers over the steps of a training run, in the form that TensorBoard reads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace replk {

/// A number under a name. What stands before a "/" in a tag is the group TensorBoard shows it in.
struct Scalar {
  std::string tag;
  double value;  // stored as f32
};

/// A new file events.out.tfevents.<seconds>.<host>.<process> that grows record by record; a file that was
/// there before is never touched. Its name sorts after all event files of the folder, whatever the clock
/// says, because TensorBoard reads them in this order.
///
/// It begins with the start of a session at `first_step`: TensorBoard then forgets what files before it say
/// of that step and of later ones, so that steps which were lost in a crash and are computed again appear
/// once.
class EventFile {
 public:
  /// Throws FileError when the file cannot be created or written.
  EventFile(const std::filesystem::path& folder, std::int64_t first_step);
  ~EventFile();
  EventFile(const EventFile&) = delete;
  EventFile& operator=(const EventFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// Appends scalars of a step as one record, with the time of now. Throws FileError when that fails (a full
  /// disk); the file then ends with the record before.
  void add(std::int64_t step, const std::vector<Scalar>& scalars);
  /// Returns when everything is on the disk. Throws FileError when it cannot be brought there.
  void sync();

 private:
  void append(const std::string& event);
  [[noreturn]] void fail(const char* action, int error) const;

  std::filesystem::path path_;
  int descriptor_ = -1;
  std::int64_t size_ = 0;  // of whole records
};

}  // namespace replk
