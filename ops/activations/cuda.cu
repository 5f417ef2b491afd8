#include "core/cuda/elementwise.cuh"
#include "ops/activations/activations.h"
#include "ops/primitives/activation.cuh"

namespace replk::cuda {
namespace {

struct Relu6 {
  template <class A>
  __device__ static A value(A x) {
    return x > 6 ? A{6} : Relu::value(x);
  }
  template <class A>
  __device__ static A slope(A y) {
    return y >= 6 ? A{0} : Relu::slope(y);
  }
};

struct Sigmoid {
  // With e = exp(-|x|), which never overflows.
  template <class A>
  __device__ static A value(A x) {
    const A e = exp(-fabs(x));
    return (x >= 0 ? A{1} : e) / (1 + e);
  }
  template <class A>
  __device__ static A slope(A y) {
    return y * (1 - y);
  }
};

template <class Function, class T>
struct Forward {
  static constexpr int kLanes = kVectorLanes<T>;
  const T* x;
  T* y;

  template <int n>
  __device__ void run(std::int64_t i) const {
    auto values = load<n>(x + i);
    for (int k = 0; k < n; ++k) values[k] = Function::value(values[k]);
    store(y + i, values);
  }
};

// dx = dy slope(saved); where the slope is 0 dy does not matter, even if it is not finite.
template <class Function, class T>
struct Backward {
  static constexpr int kLanes = kVectorLanes<T>;
  const T *saved, *dy;
  Target<T> dx;

  template <int n>
  __device__ void run(std::int64_t i) const {
    const auto from = load<n>(saved + i);
    auto gradient = load<n>(dy + i);
    for (int k = 0; k < n; ++k) {
      const Accumulator<T> slope = Function::slope(from[k]);
      gradient[k] = slope == 0 ? slope : gradient[k] * slope;
    }
    dx.template put<n>(i, gradient);
  }
};

template <class Function>
void forward(const char* name, const Tensor& x, Tensor& y) {
  visit_floating(name, x.dtype(), [&]<class T>(TypeTag<T>) {
    const Forward<Function, T> f{x.data<T>(), y.data<T>()};
    elementwise(name, x.numel(), f, aligned(f.x, f.y));
  });
}

template <class Function>
void backward(const char* name, const Tensor& saved, const Tensor& dy, GradTarget& dx) {
  visit_floating(name, dy.dtype(), [&]<class T>(TypeTag<T>) {
    const Backward<Function, T> f{saved.data<T>(), dy.data<T>(), {dx.tensor.data<T>(), dx.accumulate}};
    elementwise(name, dy.numel(), f, aligned(f.saved, f.dy, f.dx.data));
  });
}

}  // namespace

void relu_forward(const Tensor& x, Tensor& y) { forward<Relu>("relu", x, y); }
void relu_backward(const Tensor& y, const Tensor& dy, GradTarget dx) {
  backward<Relu>("relu.backward", y, dy, dx);
}

void relu6_forward(const Tensor& x, Tensor& y) { forward<Relu6>("relu6", x, y); }
void relu6_backward(const Tensor& y, const Tensor& dy, GradTarget dx) {
  backward<Relu6>("relu6.backward", y, dy, dx);
}

void gelu_forward(const Tensor& x, Tensor& y) { forward<Gelu>("gelu", x, y); }
void gelu_backward(const Tensor& x, const Tensor& dy, GradTarget dx) {
  backward<Gelu>("gelu.backward", x, dy, dx);
}

void sigmoid_forward(const Tensor& x, Tensor& y) { forward<Sigmoid>("sigmoid", x, y); }
void sigmoid_backward(const Tensor& y, const Tensor& dy, GradTarget dx) {
  backward<Sigmoid>("sigmoid.backward", y, dy, dx);
}

}  // namespace replk::cuda
