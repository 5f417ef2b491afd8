#include "core/dry_run.h"

#include <sys/mman.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "core/caching_allocator.h"
#include "core/error.h"
#include "core/parallel.h"

namespace replk {

// Counts as a CachingAllocator does. Addresses are those of pages that were never touched: the few that are
// (a loss, its labels) get memory from the system then.
class DryRun::Counter final : public Allocator {
 public:
  Counter(const DryRun& run, std::size_t alignment) : run_(run), alignment_(alignment) {}

  void* allocate(std::size_t bytes) override {
    void* memory = mmap(nullptr, std::max<std::size_t>(bytes, 1), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    check(memory != MAP_FAILED, "dry run: the system has no ", bytes, " bytes of addresses left.");
    const std::int64_t counted = size_class(bytes) * run_.team_;
    sizes_.emplace(memory, counted);
    add(counted);
    return memory;
  }
  void deallocate(void* memory, std::size_t bytes) noexcept override {
    const auto found = sizes_.find(memory);
    stats_.in_use -= found->second;
    sizes_.erase(found);
    munmap(memory, std::max<std::size_t>(bytes, 1));
  }
  MemoryStats stats() const override { return stats_; }
  void reset_peak() override { stats_.peak = stats_.in_use; }
  void release_cached() noexcept override {}
  std::int64_t capacity() const override { return std::numeric_limits<std::int64_t>::max(); }

  std::int64_t size_class(std::size_t bytes) const {
    return static_cast<std::int64_t>(memory_size_class(bytes, alignment_));
  }
  void add(std::int64_t bytes) {
    stats_.in_use += bytes;
    stats_.peak = std::max(stats_.peak, stats_.in_use);
  }

 private:
  const DryRun& run_;
  std::size_t alignment_;
  MemoryStats stats_;
  std::map<void*, std::int64_t> sizes_;
};

DryRun::DryRun() : kept_(static_cast<std::size_t>(num_threads()), 0) {
  check(!detail::dry_run, "DryRun: this thread has one already.");
  counters_[Device::Type::cpu] = std::make_unique<Counter>(*this, kCpuAlignment);
  counters_[Device::Type::cuda] = std::make_unique<Counter>(*this, kCudaAlignment);
  detail::dry_run = this;
}

DryRun::~DryRun() { detail::dry_run = nullptr; }

Allocator& DryRun::allocator(Device device) { return *counters_.at(device.type); }

void DryRun::keep_on_threads(std::size_t bytes) {
  Counter& cpu = *counters_.at(Device::Type::cpu);
  const std::int64_t size = cpu.size_class(bytes);
  for (std::size_t thread = 0; thread < std::min<std::size_t>(kept_.size(), team_); ++thread)
    if (kept_[thread] < size) cpu.add(size - std::exchange(kept_[thread], size));
}

}  // namespace replk
