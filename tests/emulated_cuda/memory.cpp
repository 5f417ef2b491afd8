#include "tests/emulated_cuda/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(begin, bytes) static_cast<void>(begin), static_cast<void>(bytes)
#define ASAN_UNPOISON_MEMORY_REGION(begin, bytes) static_cast<void>(begin), static_cast<void>(bytes)
#endif

namespace replk::emulated {
namespace {

constexpr std::size_t kArena = std::size_t{2} << 30, kUnit = 512;
// Between two blocks, so that address sanitizer sees who writes past the end of one.
constexpr std::size_t kGap = 512;

struct Arena {
  std::recursive_mutex mutex;
  char* begin = nullptr;
  std::size_t used = 0, in_use = 0;
  int open = 0;
  std::map<char*, std::size_t> sizes;
  std::map<char*, std::size_t> free;  // gaps included; no two are neighbours

  Arena() {
    void* memory = mmap(nullptr, kArena, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory != MAP_FAILED) begin = static_cast<char*>(memory);
  }
};

Arena& arena() {
  static Arena& only = *new Arena;
  return only;
}

}  // namespace

DeviceAccess::DeviceAccess() {
  Arena& a = arena();
  a.mutex.lock();
  if (a.open++ == 0) mprotect(a.begin, a.used, PROT_READ | PROT_WRITE);
}

DeviceAccess::~DeviceAccess() {
  Arena& a = arena();
  if (--a.open == 0) mprotect(a.begin, a.used, PROT_NONE);
  a.mutex.unlock();
}

void* take_device(std::size_t bytes) {
  Arena& a = arena();
  const std::lock_guard lock(a.mutex);
  const std::size_t size = (bytes + kUnit - 1) / kUnit * kUnit, whole = size + kGap;
  char* memory = nullptr;
  const auto fits = [whole](const auto& block) { return block.second >= whole; };
  if (const auto found = std::find_if(a.free.begin(), a.free.end(), fits); found != a.free.end()) {
    memory = found->first;
    if (found->second > whole) a.free.emplace(memory + whole, found->second - whole);
    a.free.erase(found);
  } else {
    if (size > kArena || !a.begin || a.used + whole > kArena) return nullptr;
    memory = a.begin + a.used;
    a.used += whole;
  }
  const DeviceAccess access;
  ASAN_UNPOISON_MEMORY_REGION(memory, size);
  std::memset(memory, 0xff, size);
  ASAN_POISON_MEMORY_REGION(memory + size, kGap);
  a.sizes[memory] = size;
  a.in_use += size;
  return memory;
}

void give_back_device(void* memory) {
  Arena& a = arena();
  const std::lock_guard lock(a.mutex);
  const auto found = a.sizes.find(static_cast<char*>(memory));
  if (found == a.sizes.end()) return;
  a.in_use -= found->second;
  ASAN_POISON_MEMORY_REGION(found->first, found->second);
  auto block = a.free.emplace(found->first, found->second + kGap).first;
  a.sizes.erase(found);
  if (const auto next = std::next(block);
      next != a.free.end() && block->first + block->second == next->first) {
    block->second += next->second;
    a.free.erase(next);
  }
  if (block == a.free.begin()) return;
  if (const auto before = std::prev(block); before->first + before->second == block->first) {
    before->second += block->second;
    a.free.erase(block);
  }
}

std::size_t device_bytes() { return kArena; }
std::size_t device_bytes_free() { return kArena - arena().in_use; }

}  // namespace replk::emulated
