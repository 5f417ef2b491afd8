#include "core/cuda/elementwise.cuh"
#include "core/cuda/reduce.cuh"
#include "ops/reductions/reductions.h"

namespace replk::cuda {
namespace {

// Every element gets the same share.
template <class T>
struct SumBackward {
  static constexpr int kLanes = kVectorLanes<T>;
  const T* dy;
  Target<T> dx;
  Accumulator<T> divisor;

  template <int n>
  __device__ void run(std::int64_t i) const {
    const Accumulator<T> share = widen(*dy) / divisor;
    Lanes<Accumulator<T>, n> shares;
    for (int k = 0; k < n; ++k) shares[k] = share;
    dx.template put<n>(i, shares);
  }
};

}  // namespace

void sum_forward(const Tensor& x, double divisor, Tensor& y) {
  visit_floating("sum", x.dtype(), [&]<class T>(TypeTag<T>) {
    const RowSums<T, T> f{x.data<T>(), {y.data<T>(), false}, static_cast<Accumulator<T>>(divisor)};
    reduce_rows("sum", 1, x.numel(), f, aligned(f.x));
  });
}

void sum_backward(const Tensor& dy, double divisor, GradTarget dx) {
  visit_floating("sum", dy.dtype(), [&]<class T>(TypeTag<T>) {
    const SumBackward<T> f{
        dy.data<T>(), {dx.tensor.data<T>(), dx.accumulate}, static_cast<Accumulator<T>>(divisor)};
    elementwise("sum.backward", dx.tensor.numel(), f, aligned(f.dx.data));
  });
}

}  // namespace replk::cuda
