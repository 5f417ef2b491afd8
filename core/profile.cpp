#include "core/profile.h"

#include <atomic>
#include <mutex>

namespace replk {
namespace {
std::atomic<bool> profiling{false};
std::mutex mutex;
std::map<std::string, Profile::Entry>& table() {
  static std::map<std::string, Profile::Entry> entries;
  return entries;
}
}  // namespace

void Profile::enable(bool on) {
  const std::lock_guard lock(mutex);
  if (on) table().clear();
  profiling = on;
}

bool Profile::enabled() { return profiling.load(std::memory_order_relaxed); }

void Profile::add(const std::string& name, double seconds) {
  const std::lock_guard lock(mutex);
  Entry& entry = table()[name];
  entry.seconds += seconds;
  ++entry.calls;
}

std::map<std::string, Profile::Entry> Profile::entries() {
  const std::lock_guard lock(mutex);
  return table();
}

}  // namespace replk
