#include "core/caching_allocator.h"

#include <algorithm>
#include <bit>

#include "core/error.h"

namespace replk {

void* CachingAllocator::allocate(std::size_t bytes) {
  const std::size_t size = size_class(bytes);
  const std::lock_guard lock(mutex_);
  void* memory = nullptr;
  if (auto it = free_.find(size); it != free_.end() && !it->second.empty()) {
    memory = it->second.back();
    it->second.pop_back();
    stats_.cached -= static_cast<std::int64_t>(size);
  } else {
    memory = take(size);
  }
  if (!memory)
    throw Error(str("memory: asked for ", bytes, " bytes on ", source_.name(), " with ", stats_.in_use,
                    " in use, and ", source_.what_is_left(), ". Use a smaller batch or image size."));
  stats_.in_use += static_cast<std::int64_t>(size);
  stats_.peak = std::max(stats_.peak, stats_.in_use);
  return memory;
}

void CachingAllocator::deallocate(void* memory, std::size_t bytes) noexcept {
  const std::size_t size = size_class(bytes);
  const std::lock_guard lock(mutex_);
  stats_.in_use -= static_cast<std::int64_t>(size);
  try {
    free_[size].push_back(memory);
    stats_.cached += static_cast<std::int64_t>(size);
  } catch (const std::bad_alloc&) {
    source_.give_back(memory);
  }
}

MemoryStats CachingAllocator::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

void CachingAllocator::reset_peak() {
  const std::lock_guard lock(mutex_);
  stats_.peak = stats_.in_use;
}

void CachingAllocator::release_cached() noexcept {
  const std::lock_guard lock(mutex_);
  release();
}

// Rounds up to one of eight sizes per power of two, so that freed blocks fit later requests with at most 1/8
// waste.
std::size_t CachingAllocator::size_class(std::size_t bytes) const {
  const std::size_t step = std::max(source_.alignment(), std::bit_floor(bytes) / 8);
  return (bytes + step - 1) / step * step;
}

void* CachingAllocator::take(std::size_t size) {
  void* memory = source_.take(size);
  if (!memory) {  // what is kept may be in other sizes than the one that is missing
    release();
    memory = source_.take(size);
  }
  return memory;
}

void CachingAllocator::release() noexcept {
  for (auto& [size, blocks] : free_) {
    for (void* block : blocks) source_.give_back(block);
    blocks.clear();
  }
  stats_.cached = 0;
}

}  // namespace replk
