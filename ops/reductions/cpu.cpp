#include "ops/primitives/sum.h"
#include "ops/reductions/reductions.h"

namespace replk::cpu {

void sum_forward(const Tensor& x, double divisor, Tensor& y) {
  visit_real("sum", x.dtype(), [&]<class T>(TypeTag<T>) {
    const T* from = x.data<T>();
    *y.data<T>() =
        threaded_sum<T>(x.numel(), [&](std::int64_t i) { return from[i]; }) / static_cast<T>(divisor);
  });
}

void sum_backward(const Tensor& dy, double divisor, GradTarget dx) {
  visit_real("sum", dy.dtype(), [&]<class T>(TypeTag<T>) {
    const T share = *dy.data<T>() / static_cast<T>(divisor);
    T* to = dx.tensor.data<T>();
    parallel_for(dx.tensor.numel(), 1 << 15, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) to[i] = dx.accumulate ? to[i] + share : share;
    });
  });
}

}  // namespace replk::cpu
