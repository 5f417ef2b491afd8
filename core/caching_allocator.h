// CachingAllocator: keeps freed memory for the next request of its size, whatever the memory is made of.
#pragma once

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
  /// What is left, as the end of a sentence: "the system has no more", "1234 of 5678 bytes are free".
  virtual std::string what_is_left() const noexcept = 0;
};

/// A training step asks for the same sizes again and again. On the CPU a kept block saves the page faults
/// that fresh memory costs on its first touch; on a GPU it saves cudaMalloc and cudaFree, which wait for the
/// device.
///
/// On a GPU memory is handed out in the order of the compute stream: a block may be handed out again while
/// kernels launched earlier still use it, because kernels launched later run after those. What runs on
/// another stream must wait for the compute stream before it touches fresh memory (Upload does).
class CachingAllocator final : public Allocator {
 public:
  /// `source` must outlive it.
  explicit CachingAllocator(MemorySource& source) : source_(source) {}
  ~CachingAllocator() override { release(); }

  void* allocate(std::size_t bytes) override;
  void deallocate(void* memory, std::size_t bytes) noexcept override;
  MemoryStats stats() const override;
  void reset_peak() override;
  void release_cached() noexcept override;

 private:
  std::size_t size_class(std::size_t bytes) const;
  void* take(std::size_t size);
  void release() noexcept;

  MemorySource& source_;
  mutable std::mutex mutex_;
  std::map<std::size_t, std::vector<void*>> free_;
  MemoryStats stats_;
};

}  // namespace replk
