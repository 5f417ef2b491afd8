#include "core/caching_allocator.h"

#include <cstdlib>
#include <map>

#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

namespace {

// So many bytes, of which it knows who has them.
class SmallMemory final : public MemorySource {
 public:
  explicit SmallMemory(std::int64_t bytes) : left_(bytes) {}
  void* take(std::size_t bytes) noexcept override {
    if (static_cast<std::int64_t>(bytes) > left_) return nullptr;
    left_ -= static_cast<std::int64_t>(bytes);
    void* memory = std::aligned_alloc(64, bytes);
    sizes_[memory] = bytes;
    return memory;
  }
  void give_back(void* memory) noexcept override {
    left_ += static_cast<std::int64_t>(sizes_[memory]);
    sizes_.erase(memory);
    std::free(memory);
  }
  std::size_t alignment() const override { return 64; }
  std::string name() const override { return "a test"; }
  std::int64_t left() const noexcept override { return left_; }
  std::string what_is_left() const noexcept override { return str(left_, " bytes are left"); }

 private:
  std::int64_t left_;
  std::map<void*, std::size_t> sizes_;
};

}  // namespace

TEST_CASE("core/caching_allocator/limit") {
  SmallMemory memory(1 << 20);
  CachingAllocator allocator(memory, 4096);
  CHECK(allocator.capacity() == 4096);
  void* a = allocator.allocate(2048);
  void* b = allocator.allocate(2048);
  CHECK(allocator.capacity() == 4096);
  check_error([&] { allocator.allocate(64); },
              {"asked for 64 bytes on a test", "4096 in use", "REPLK_MEMORY_LIMIT allows 4096 bytes"});
  allocator.deallocate(b, 2048);
  CHECK(allocator.stats().cached == 2048);
  void* c = allocator.allocate(1024);  // what is kept in another size makes room
  CHECK(allocator.stats().cached == 0);
  CHECK(allocator.stats().in_use == 3072);
  CHECK(memory.left() == (1 << 20) - 3072);
  allocator.deallocate(a, 2048);
  allocator.deallocate(c, 1024);
}

TEST_CASE("core/caching_allocator/nothing left") {
  SmallMemory memory(4096);
  CachingAllocator allocator(memory);
  void* a = allocator.allocate(1024);
  CHECK(allocator.capacity() == 4096);
  try {
    allocator.allocate(8192);
    FAIL("there is not as much");
  } catch (const OutOfMemory& error) {
    CHECK(error.capacity() == 4096);
    CHECK(std::string(error.what()).find("3072 bytes are left") != std::string::npos);
  }
  allocator.deallocate(a, 1024);
  CHECK(allocator.capacity() == 4096);  // what is kept counts as free
}
