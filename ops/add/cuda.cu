#include "core/cuda/elementwise.cuh"
#include "ops/add/add.h"
#include "ops/primitives/activation.cuh"

namespace replk::cuda {
namespace {

template <class Function, class T>
struct Add {
  static constexpr int kLanes = kVectorLanes<T>;
  const T *a, *b;
  T* y;

  template <int n>
  __device__ void run(std::int64_t i) const {
    auto sum = load<n>(a + i);
    const auto other = load<n>(b + i);
    for (int k = 0; k < n; ++k) sum[k] = Function::value(sum[k] + other[k]);
    store(y + i, sum);
  }
};

template <class T>
struct ReluBackward {
  static constexpr int kLanes = kVectorLanes<T>;
  const T *y, *dy;
  T* dz;

  template <int n>
  __device__ void run(std::int64_t i) const {
    const auto result = load<n>(y + i);
    auto gradient = load<n>(dy + i);
    for (int k = 0; k < n; ++k)
      if (result[k] <= 0) gradient[k] = 0;
    store(dz + i, gradient);
  }
};

}  // namespace

void add_forward(const Tensor& a, const Tensor& b, const AddParams& params, Tensor& y) {
  visit_floating("add", a.dtype(), [&]<class T>(TypeTag<T>) {
    const auto run = [&]<class Function>(Function) {
      const Add<Function, T> f{a.data<T>(), b.data<T>(), y.data<T>()};
      elementwise("add", a.numel(), f, aligned(f.a, f.b, f.y));
    };
    if (params.relu)
      run(Relu{});
    else
      run(Identity{});
  });
}

void add_relu_backward(const Tensor& y, const Tensor& dy, Tensor& dz) {
  visit_floating("add", dy.dtype(), [&]<class T>(TypeTag<T>) {
    const ReluBackward<T> f{y.data<T>(), dy.data<T>(), dz.data<T>()};
    elementwise("add.backward", dy.numel(), f, aligned(f.y, f.dy, f.dz));
  });
}

}  // namespace replk::cuda
