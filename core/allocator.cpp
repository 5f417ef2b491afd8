#include "core/allocator.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <string>

#include "core/caching_allocator.h"
#include "core/cuda/runtime.h"
#include "core/dry_run.h"
#include "core/replay.h"

namespace replk {
namespace {

constexpr std::int64_t kUnlimited = std::numeric_limits<std::int64_t>::max();

// What Linux would give without swapping; no limit where it does not tell.
std::int64_t available_bytes() {
  std::ifstream file("/proc/meminfo");
  std::string key, rest;
  for (std::int64_t kilobytes = 0; file >> key >> kilobytes; std::getline(file, rest))
    if (key == "MemAvailable:") return kilobytes * 1024;
  return kUnlimited;
}

// What is left of the addresses that `ulimit -v` allows.
std::int64_t addressable_bytes() {
  rlimit limit{};
  if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kUnlimited;
  std::ifstream file("/proc/self/statm");
  std::int64_t pages = 0;
  file >> pages;
  return static_cast<std::int64_t>(limit.rlim_cur) - pages * sysconf(_SC_PAGESIZE);
}

class SystemMemory final : public MemorySource {
 public:
  void* take(std::size_t bytes) noexcept override { return std::aligned_alloc(alignment(), bytes); }
  void give_back(void* memory) noexcept override { std::free(memory); }
  std::size_t alignment() const override { return kCpuAlignment; }
  std::string name() const override { return "the CPU"; }
  std::int64_t left() const noexcept override { return std::min(available_bytes(), addressable_bytes()); }
  std::string what_is_left() const noexcept override { return "the system has no more"; }
};

}  // namespace

std::int64_t bytes_from_text(const std::string& text, const std::string& source) {
  std::size_t end = 0;
  double value = -1;
  try {
    value = std::stod(text, &end);
  } catch (const std::exception&) {
  }
  std::string unit = text.substr(end);
  if (unit.ends_with("iB")) unit.resize(unit.size() - 2);
  const std::size_t power = std::string("KMGT").find(unit) + 1;
  const double bytes = unit.empty() ? value : std::ldexp(value, static_cast<int>(10 * power));
  if (!(bytes >= 1 && bytes < 9e18) || unit.size() > 1 || (unit.size() == 1 && power == 0))
    throw UsageError(str(source, ": a number of bytes like 800M or 2G expected, got '", text, "'."));
  return static_cast<std::int64_t>(bytes);
}

std::int64_t memory_limit() {
  const char* text = std::getenv("REPLK_MEMORY_LIMIT");
  return text && *text ? bytes_from_text(text, "REPLK_MEMORY_LIMIT") : kUnlimited;
}

Allocator& allocator_for(Device device) {
  if (DryRun* dry = DryRun::current()) return dry->allocator(device);
  // Never destroyed: tensors with static lifetime may outlive any order of destruction we could choose.
  static Allocator& cpu = *new CachingAllocator(*new SystemMemory, memory_limit());
  if (device.is_cpu()) return cpu;
  if (detail::recording_allocator) return *detail::recording_allocator;
  if constexpr (kHasCuda)
    return cuda::device_allocator(device);
  else
    throw Error(str("memory: no allocator for ", device,
                    ": this build has no CUDA. Configure with -DREPLK_CUDA=ON, or use the CPU."));
}

Allocator& pinned_allocator() {
  if (DryRun* dry = DryRun::current()) return dry->allocator(Device::cpu());
  if constexpr (kHasCuda)
    if (cuda_available()) return cuda::pinned_allocator();
  return allocator_for(Device::cpu());
}

}  // namespace replk
