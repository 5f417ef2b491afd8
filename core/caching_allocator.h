// CachingAllocator: keeps freed memory for the next request of its size, whatever the memory is made of.
#pragma once

#include <limits>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "core/allocator.h"

namespace replk {

/// Where a CachingAllocator gets memory from: the system, the GPU, page-locked pages.
class MemorySource {
 public:
  virtual ~MemorySource() = default;
  /// `bytes`, a multiple of alignment(), or nullptr when there is not as much left.
  virtual void* take(std::size_t bytes) noexcept = 0;
  virtual void give_back(void* memory) noexcept = 0;
  /// Of what take() returns, in bytes; also the unit in which memory is handed out.
  virtual std::size_t alignment() const = 0;
  /// "the CPU", "cuda:0"
  virtual std::string name() const = 0;
  /// Bytes that it could still give.
  virtual std::int64_t left() const noexcept = 0;
  /// The same as the end of a sentence: "the system has no more", "1234 of 5678 bytes are free".
  virtual std::string what_is_left() const noexcept = 0;
};

/// What MemorySource::alignment is on the two devices.
inline constexpr std::size_t kCpuAlignment = 64, kCudaAlignment = 512;

/// The bytes that are handed out for a request of `bytes`: one of eight sizes per power of two, so that freed
/// blocks fit later requests with at most 1/8 waste.
std::size_t memory_size_class(std::size_t bytes, std::size_t alignment);

/// A training step asks for the same sizes again and again. On the CPU a kept block saves the page faults
/// that fresh memory costs on its first touch; on a GPU it saves cudaMalloc and cudaFree, which wait for the
/// device.
///
/// On a GPU memory is handed out in the order of the compute stream: a block may be handed out again while
/// kernels launched earlier still use it, because kernels launched later run after those. What runs on
/// another stream must wait for the compute stream before it touches fresh memory (Upload does).
class CachingAllocator final : public Allocator {
 public:
  /// `source` must outlive it. Of that no more than `limit` bytes are taken, kept ones included.
  explicit CachingAllocator(MemorySource& source,
                            std::int64_t limit = std::numeric_limits<std::int64_t>::max())
      : source_(source), limit_(limit) {}
  ~CachingAllocator() override { release(); }

  void* allocate(std::size_t bytes) override;
  void deallocate(void* memory, std::size_t bytes) noexcept override;
  MemoryStats stats() const override;
  void reset_peak() override;
  void release_cached() noexcept override;
  std::int64_t capacity() const override;

 private:
  void* take(std::size_t size);
  bool within_limit(std::size_t size) const;
  std::int64_t most() const;
  [[noreturn]] void refuse(std::size_t bytes, std::size_t size) const;
  void release() noexcept;

  MemorySource& source_;
  std::int64_t limit_;
  mutable std::mutex mutex_;
  std::map<std::size_t, std::vector<void*>> free_;
  MemoryStats stats_;
};

}  // namespace replk
