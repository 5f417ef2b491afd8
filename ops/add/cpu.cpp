#include "core/parallel.h"
#include "ops/add/add.h"

namespace replk::cpu {

void add_forward(const Tensor& a, const Tensor& b, Tensor& y) {
  constexpr std::int64_t kGrain = 1 << 14;  // elements worth a thread
  visit_real("add", y.dtype(), [&]<class T>(TypeTag<T>) {
    const T *left = a.data<T>(), *right = b.data<T>();
    T* to = y.data<T>();
    parallel_for(y.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) to[i] = left[i] + right[i];
    });
  });
}

}  // namespace replk::cpu
