#include "core/caching_allocator.h"

#include <algorithm>
#include <bit>

#include "core/error.h"

namespace replk {

std::size_t memory_size_class(std::size_t bytes, std::size_t alignment) {
  const std::size_t step = std::max(alignment, std::bit_floor(bytes) / 8);
  return (bytes + step - 1) / step * step;
}

void* CachingAllocator::allocate(std::size_t bytes) {
  const std::size_t size = memory_size_class(bytes, source_.alignment());
  const std::lock_guard lock(mutex_);
  void* memory = nullptr;
  if (auto it = free_.find(size); it != free_.end() && !it->second.empty()) {
    memory = it->second.back();
    it->second.pop_back();
    stats_.cached -= static_cast<std::int64_t>(size);
  } else {
    memory = take(size);
  }
  if (!memory) refuse(bytes, size);
  stats_.in_use += static_cast<std::int64_t>(size);
  stats_.peak = std::max(stats_.peak, stats_.in_use);
  return memory;
}

void CachingAllocator::deallocate(void* memory, std::size_t bytes) noexcept {
  const std::size_t size = memory_size_class(bytes, source_.alignment());
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

std::int64_t CachingAllocator::capacity() const {
  const std::lock_guard lock(mutex_);
  return most();
}

void* CachingAllocator::take(std::size_t size) {
  void* memory = within_limit(size) ? source_.take(size) : nullptr;
  if (!memory) {  // what is kept may be in other sizes than the one that is missing
    release();
    memory = within_limit(size) ? source_.take(size) : nullptr;
  }
  return memory;
}

bool CachingAllocator::within_limit(std::size_t size) const {
  return size <= static_cast<std::size_t>(std::max<std::int64_t>(limit_ - stats_.in_use - stats_.cached, 0));
}

std::int64_t CachingAllocator::most() const {
  const std::int64_t left = std::max<std::int64_t>(source_.left(), 0), taken = stats_.in_use + stats_.cached;
  return left < limit_ - taken ? taken + left : limit_;
}

void CachingAllocator::refuse(std::size_t bytes, std::size_t size) const {
  const std::string left =
      within_limit(size) ? source_.what_is_left() : str("REPLK_MEMORY_LIMIT allows ", limit_, " bytes");
  throw OutOfMemory(str("memory: asked for ", bytes, " bytes on ", source_.name(), " with ", stats_.in_use,
                        " in use, and ", left, ". Use a smaller batch or image size."),
                    most());
}

void CachingAllocator::release() noexcept {
  for (auto& [size, blocks] : free_) {
    for (void* block : blocks) source_.give_back(block);
    blocks.clear();
  }
  stats_.cached = 0;
}

}  // namespace replk
