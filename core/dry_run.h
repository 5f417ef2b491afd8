// DryRun: a computation without its memory and its arithmetic, to learn what it would take.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "core/allocator.h"

namespace replk {

/// While one lives, what this thread computes is only counted: tensors get addresses behind which the system
/// has put nothing, parallel_for sets up its pieces and leaves them empty, kernels of a GPU are not launched
/// (nor need there be one). What code does besides, it does: it chooses kernels, records on the tape, frees.
/// So the numbers are those of the code itself, and a training step of RepLKNet-XL takes milliseconds.
///
///   DryRun dry;
///   RepLKNet model(config);                  // must end before `dry` does
///   model(Tensor::empty({3, 64, 224, 224}));
///   dry.stats(Device::cpu()).peak;
///
/// Contents are undefined and mostly 0: nothing may depend on them. Counted is what allocators count; small
/// vectors of the standard library are not, nor is the workspace inside kernels of a GPU.
class DryRun {
 public:
  /// With as many threads as parallel_for has now. Throws Error when this thread has a dry run already.
  DryRun();
  ~DryRun();
  DryRun(const DryRun&) = delete;
  DryRun& operator=(const DryRun&) = delete;

  /// The one of this thread, or nullptr.
  static DryRun* current();

  Allocator& allocator(Device device);
  MemoryStats stats(Device device) { return allocator(device).stats(); }
  void reset_peak(Device device) { allocator(device).reset_peak(); }

  /// body() with everything in it counted `threads` times: what each thread of a loop sets up for itself.
  template <class F>
  void on_threads(int threads, const F& body) {
    if (team_ > 1) return body();  // nested loops run on the calling thread
    team_ = threads;
    body();
    team_ = 1;
  }
  /// Each thread of the present loop keeps `bytes` on the CPU from now on, unless it kept as many before.
  void keep_on_threads(std::size_t bytes);

 private:
  class Counter;
  int team_ = 1;
  std::map<Device::Type, std::unique_ptr<Counter>> counters_;
  std::vector<std::int64_t> kept_;  // by thread
};

namespace detail {
inline constinit thread_local DryRun* dry_run = nullptr;
}  // namespace detail

inline DryRun* DryRun::current() { return detail::dry_run; }

}  // namespace replk
