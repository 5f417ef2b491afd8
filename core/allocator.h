// Allocators: the small interface behind which a device hands out memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/device.h"

namespace replk {

/// Bytes handed out now, the most ever handed out at once, and bytes kept for reuse.
struct MemoryStats {
  std::int64_t in_use = 0;
  std::int64_t peak = 0;
  std::int64_t cached = 0;
};

class Allocator {
 public:
  virtual ~Allocator() = default;
  /// `bytes` of memory aligned to 64 bytes, contents undefined. Throws Error when there is none left.
  virtual void* allocate(std::size_t bytes) = 0;
  /// Takes back what allocate(bytes) gave; it may be kept for the next request of that size.
  virtual void deallocate(void* memory, std::size_t bytes) noexcept = 0;
  virtual MemoryStats stats() const = 0;
  /// Starts a new peak from what is in use now.
  virtual void reset_peak() = 0;
  /// Gives what is kept for reuse back to the system.
  virtual void release_cached() noexcept = 0;
};

/// The allocator of a device. Throws Error for a device this build or this machine does not have.
Allocator& allocator_for(Device device);
/// Of page-locked CPU memory, which the GPU reads while kernels run; plain CPU memory where there is no GPU.
Allocator& pinned_allocator();

}  // namespace replk
