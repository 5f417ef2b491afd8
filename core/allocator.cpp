#include "core/allocator.h"

#include <bit>
#include <cstdlib>
#include <map>
#include <mutex>
#include <vector>

#include "core/error.h"

namespace replk {
namespace {

constexpr std::size_t kAlignment = 64;

// Round up to one of eight sizes per power of two, so that freed blocks fit later requests with at most 1/8
// waste.
std::size_t size_class(std::size_t bytes) {
  const std::size_t step = std::max<std::size_t>(kAlignment, std::bit_floor(bytes) / 8);
  return (bytes + step - 1) / step * step;
}

// A training step asks for the same sizes again and again. Keeping freed blocks saves the page faults that
// fresh memory costs on its first touch, which would otherwise take longer than the pointwise kernels
// themselves.
class CachingCpuAllocator final : public Allocator {
 public:
  ~CachingCpuAllocator() override { release(); }

  void* allocate(std::size_t bytes) override {
    const std::size_t size = size_class(bytes);
    const std::lock_guard lock(mutex_);
    void* memory = nullptr;
    if (auto it = free_.find(size); it != free_.end() && !it->second.empty()) {
      memory = it->second.back();
      it->second.pop_back();
      stats_.cached -= static_cast<std::int64_t>(size);
    } else {
      memory = system_allocate(size);
    }
    if (!memory)
      throw Error(str("memory: asked for ", bytes, " bytes on the CPU with ", stats_.in_use,
                      " in use, and the system has no more. Use a smaller batch or image size."));
    stats_.in_use += static_cast<std::int64_t>(size);
    stats_.peak = std::max(stats_.peak, stats_.in_use);
    return memory;
  }

  void deallocate(void* memory, std::size_t bytes) noexcept override {
    const std::size_t size = size_class(bytes);
    const std::lock_guard lock(mutex_);
    stats_.in_use -= static_cast<std::int64_t>(size);
    try {
      free_[size].push_back(memory);
      stats_.cached += static_cast<std::int64_t>(size);
    } catch (const std::bad_alloc&) {
      std::free(memory);
    }
  }

  MemoryStats stats() const override {
    const std::lock_guard lock(mutex_);
    return stats_;
  }

  void reset_peak() override {
    const std::lock_guard lock(mutex_);
    stats_.peak = stats_.in_use;
  }

  void release_cached() noexcept override {
    const std::lock_guard lock(mutex_);
    release();
  }

 private:
  void* system_allocate(std::size_t size) {
    void* memory = std::aligned_alloc(kAlignment, size);
    if (!memory) {  // what is kept may be in other sizes than the one that is missing
      release();
      memory = std::aligned_alloc(kAlignment, size);
    }
    return memory;
  }

  void release() noexcept {
    for (auto& [size, blocks] : free_) {
      for (void* block : blocks) std::free(block);
      blocks.clear();
    }
    stats_.cached = 0;
  }

  mutable std::mutex mutex_;
  std::map<std::size_t, std::vector<void*>> free_;
  MemoryStats stats_;
};

}  // namespace

Allocator& allocator_for(Device device) {
  // Never destroyed: tensors with static lifetime may outlive any order of destruction we could choose.
  static Allocator& cpu = *new CachingCpuAllocator;
  if (device.is_cpu()) return cpu;
  throw Error(str("memory: no allocator for ", device, " in this build."));
}

}  // namespace replk
