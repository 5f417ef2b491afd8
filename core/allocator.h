// Allocators: the small interface behind which a device hands out memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/device.h"
#include "core/error.h"

namespace replk {

/// Bytes handed out now, the most ever handed out at once, and bytes kept for reuse.
struct MemoryStats {
  std::int64_t in_use = 0;
  std::int64_t peak = 0;
  std::int64_t cached = 0;
};

/// There is not as much memory as was asked for. Says what was asked for, what is in use, what there is.
class OutOfMemory : public Error {
 public:
  OutOfMemory(const std::string& what, std::int64_t capacity) : Error(what), capacity_(capacity) {}
  /// The most that could be in use there, as Allocator::capacity.
  std::int64_t capacity() const { return capacity_; }

 private:
  std::int64_t capacity_;
};

class Allocator {
 public:
  virtual ~Allocator() = default;
  /// `bytes` of memory aligned to 64 bytes, contents undefined. Throws OutOfMemory when there is none left.
  virtual void* allocate(std::size_t bytes) = 0;
  /// Takes back what allocate(bytes) gave; it may be kept for the next request of that size.
  virtual void deallocate(void* memory, std::size_t bytes) noexcept = 0;
  virtual MemoryStats stats() const = 0;
  /// Starts a new peak from what is in use now.
  virtual void reset_peak() = 0;
  /// Gives what is kept for reuse back to the system.
  virtual void release_cached() noexcept = 0;
  /// The most that could be in use: the limit, or what is in use or kept and what the system has left.
  virtual std::int64_t capacity() const = 0;
};

/// The limit that REPLK_MEMORY_LIMIT sets to the memory of tensors, in bytes ("800M", "2G": powers of 1024);
/// the largest number without one. It holds for the CPU and for a GPU, each on its own. Throws UsageError
/// when it is no such number.
std::int64_t memory_limit();
/// Reads "512M". Throws UsageError naming `source`.
std::int64_t bytes_from_text(const std::string& text, const std::string& source);

/// The allocator of a device; inside a DryRun the one that only counts, while a Replay records that of the
/// recording. Throws Error for a device this build
/// or this machine does not have.
Allocator& allocator_for(Device device);
/// Of page-locked CPU memory, which the GPU reads while kernels run; plain CPU memory where there is no GPU.
Allocator& pinned_allocator();

}  // namespace replk
