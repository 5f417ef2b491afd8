#include "core/cuda/elementwise.cuh"
#include "core/cuda/runtime.h"

namespace replk::cuda {
namespace {

template <class T>
struct Fill {
  static constexpr int kLanes = kVectorLanes<T>;
  T* to;
  T value;

  template <int n>
  __device__ void run(std::int64_t i) const {
    Lanes<T, n> lanes;
    for (int k = 0; k < n; ++k) lanes[k] = value;
    store_raw(to + i, lanes);
  }
};

}  // namespace

void fill(void* memory, DType dtype, std::int64_t count, double value) {
  visit(dtype, [&]<class T>(TypeTag<T>) {
    T element;
    if constexpr (std::is_same_v<T, bf16> || std::is_same_v<T, f16>)
      element = T(static_cast<float>(value));
    else
      element = static_cast<T>(value);
    T* to = static_cast<T*>(memory);
    elementwise("fill", count, Fill<T>{to, element}, aligned(to));
  });
}

}  // namespace replk::cuda
