#include "core/cuda/elementwise.cuh"
#include "ops/linear/linear.h"
#include "ops/primitives/gemm_cuda.h"

namespace replk::cuda {
namespace {

// y[n, o] += bias[o]
template <class T>
struct AddBias {
  static constexpr int kLanes = 1;
  std::int64_t out;
  const Accumulator<T>* bias;
  T* y;

  template <int>
  __device__ void run(std::int64_t i) const {
    y[i] = narrow<T>(widen(y[i]) + bias[divide(i, out).remainder]);
  }
};

// One thread per output goes down the rows; neighbours read side by side.
template <class T>
struct BiasGradient {
  static constexpr int kLanes = 1;
  std::int64_t rows, out;
  const T* dy;
  Target<Accumulator<T>> dbias;

  template <int>
  __device__ void run(std::int64_t o) const {
    Accumulator<T> sum = 0;
    for (std::int64_t n = 0; n < rows; ++n) sum += widen(dy[n * out + o]);
    dbias.put(o, sum);
  }
};

}  // namespace

void linear_forward(const LinearGeometry& g, const Tensor& x, const Tensor& weight, const Tensor& bias,
                    Tensor& y) {
  visit_floating("linear", x.dtype(), [&]<class T>(TypeTag<T>) {
    T* to = y.data<T>();
    gemm("linear", g.rows, g.out, g.in, Matrix<const T>{x.data<T>(), g.in},
         Matrix<const T>{weight.data<T>(), g.in, /*transposed=*/true}, Matrix<T>{to, g.out},
         /*accumulate=*/false);
    if (bias.defined())
      elementwise("linear.bias", y.numel(), AddBias<T>{g.out, bias.data<Accumulator<T>>(), to}, false);
  });
}

void linear_backward_input(const LinearGeometry& g, const Tensor& weight, const Tensor& dy, GradTarget dx) {
  visit_floating("linear", dy.dtype(), [&]<class T>(TypeTag<T>) {
    gemm("linear.backward_input", g.rows, g.in, g.out, Matrix<const T>{dy.data<T>(), g.out},
         Matrix<const T>{weight.data<T>(), g.in}, Matrix<T>{dx.tensor.data<T>(), g.in}, dx.accumulate);
  });
}

void linear_backward_weight(const LinearGeometry& g, const Tensor& x, const Tensor& dy, GradTarget dweight) {
  visit_floating("linear", dy.dtype(), [&]<class T>(TypeTag<T>) {
    gemm("linear.backward_weight", g.out, g.in, g.rows,
         Matrix<const T>{dy.data<T>(), g.out, /*transposed=*/true}, Matrix<const T>{x.data<T>(), g.in},
         Matrix<Accumulator<T>>{dweight.tensor.data<Accumulator<T>>(), g.in}, dweight.accumulate);
  });
}

void linear_backward_bias(const LinearGeometry& g, const Tensor& dy, GradTarget dbias) {
  visit_floating("linear", dy.dtype(), [&]<class T>(TypeTag<T>) {
    const BiasGradient<T> f{
        g.rows, g.out, dy.data<T>(), {dbias.tensor.data<Accumulator<T>>(), dbias.accumulate}};
    elementwise("linear.backward_bias", g.out, f, false);
  });
}

}  // namespace replk::cuda
