#include "core/cuda/elementwise.cuh"
#include "ops/flatten/flatten.h"

namespace replk::cuda {
namespace {

// to[b, a, :] = from[a, b, :] for a in [0, outer), b in [0, inner), blocks of `block` elements; one thread
// per vector of `to`, which never reaches over the end of a block.
template <class T>
struct SwapOuterAxes {
  static constexpr int kLanes = kVectorLanes<T>;
  std::int64_t outer, inner, block;
  const T* from;
  Target<T> to;

  template <int n>
  __device__ void run(std::int64_t i) const {
    const Division in_block = divide(i, block), in_row = divide(in_block.quotient, outer);
    const std::int64_t b = in_row.quotient, a = in_row.remainder;
    to.template put<n>(i, load<n>(from + (a * inner + b) * block + in_block.remainder));
  }
};

void swap_outer_axes(const char* name, std::int64_t outer, std::int64_t inner, std::int64_t block,
                     const Tensor& from, GradTarget to) {
  visit_floating(name, from.dtype(), [&]<class T>(TypeTag<T>) {
    const SwapOuterAxes<T> f{outer, inner, block, from.data<T>(), {to.tensor.data<T>(), to.accumulate}};
    elementwise(name, from.numel(), f, block % f.kLanes == 0 && aligned(f.from, f.to.data));
  });
}

}  // namespace

void flatten_forward(const Tensor& x, Tensor& y) {
  swap_outer_axes("flatten", x.size(0), x.size(1), x.size(2) * x.size(3), x, {y, false});
}

void flatten_backward(const Tensor& dy, GradTarget dx) {
  const Tensor& x = dx.tensor;
  swap_outer_axes("flatten.backward", x.size(1), x.size(0), x.size(2) * x.size(3), dy, dx);
}

}  // namespace replk::cuda
