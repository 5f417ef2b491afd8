// Profile: where the time of a run goes, by operator. Off unless asked for.
#pragma once

#include <chrono>
#include <map>
#include <string>

namespace replk {

/// Seconds and calls by name ("depthwise_conv2d", "depthwise_conv2d.backward_input", "data", ...).
class Profile {
 public:
  struct Entry {
    double seconds = 0;
    long calls = 0;
  };

  /// Starts (or stops) timing every dispatch; starting forgets what was there.
  static void enable(bool on);
  static bool enabled();
  static void add(const std::string& name, double seconds);
  static std::map<std::string, Entry> entries();
};

/// Adds the time until the end of the scope to `name`, when profiling is on.
class ProfileScope {
 public:
  explicit ProfileScope(const char* name) : name_(Profile::enabled() ? name : nullptr) {
    if (name_) start_ = std::chrono::steady_clock::now();
  }
  ~ProfileScope() {
    if (name_)
      Profile::add(name_, std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count());
  }
  ProfileScope(const ProfileScope&) = delete;
  ProfileScope& operator=(const ProfileScope&) = delete;

 private:
  const char* name_;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace replk
