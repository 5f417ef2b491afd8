#include "core/allocator.h"

#include <cstdlib>

#include "core/caching_allocator.h"
#include "core/cuda/runtime.h"
#include "core/error.h"

namespace replk {
namespace {

class SystemMemory final : public MemorySource {
 public:
  void* take(std::size_t bytes) noexcept override { return std::aligned_alloc(alignment(), bytes); }
  void give_back(void* memory) noexcept override { std::free(memory); }
  std::size_t alignment() const override { return 64; }
  std::string name() const override { return "the CPU"; }
  std::string what_is_left() const noexcept override { return "the system has no more"; }
};

}  // namespace

Allocator& allocator_for(Device device) {
  // Never destroyed: tensors with static lifetime may outlive any order of destruction we could choose.
  static Allocator& cpu = *new CachingAllocator(*new SystemMemory);
  if (device.is_cpu()) return cpu;
  if constexpr (kHasCuda)
    return cuda::device_allocator(device);
  else
    throw Error(str("memory: no allocator for ", device,
                    ": this build has no CUDA. Configure with -DREPLK_CUDA=ON, or use the CPU."));
}

Allocator& pinned_allocator() {
  if constexpr (kHasCuda)
    if (cuda_available()) return cuda::pinned_allocator();
  return allocator_for(Device::cpu());
}

}  // namespace replk
