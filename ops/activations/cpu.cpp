// Every function is a struct with `value(x)` and `gradient(saved, dy)` on vectors (those that are fused into
// other kernels too are in ops/primitives/activation-inl.h); one loop applies either to an array.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/activations/cpu.cpp"

#include <cmath>

#include "core/parallel.h"
#include "ops/activations/activations.h"
#include "ops/primitives/simd_targets.h"
// Highway compiles the rest of this file once per instruction set.
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/primitives/activation-inl.h"
#include "ops/primitives/simd_row-inl.h"

#ifndef REPLK_ACTIVATIONS_ONCE
#define REPLK_ACTIVATIONS_ONCE
namespace replk::cpu {

enum class Function { relu, relu6, gelu, sigmoid };

}  // namespace replk::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace replk::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

struct Relu6 {
  template <class D, class V>
  static HWY_INLINE V value(D d, V x) {
    return Relu::value(d, capped(d, x, 6));
  }
  template <class D, class V>
  static HWY_INLINE V gradient(D d, V y, V dy) {
    return hn::IfThenZeroElse(hn::Ge(y, hn::Set(d, 6)), Relu::gradient(d, y, dy));
  }
};

struct Sigmoid {
  // With e = exp(-|x|), which never overflows: 1 / (1 + e) for x >= 0, e / (1 + e) below.
  template <class D, class V>
  static HWY_INLINE V value(D d, V x) {
    const V size = hn::Abs(x), one = hn::Set(d, 1);
    V e;
    if constexpr (sizeof(hn::TFromD<D>) == 4)
      e = exp_of_sum(d, hn::Neg(capped(d, size, 105)), hn::Zero(d));
    else
      e = lane_by_lane(d, hn::Neg(size), [](double v) { return std::exp(v); });
    return hn::Div(hn::IfThenElse(hn::Ge(x, hn::Zero(d)), one, e), hn::Add(one, e));
  }
  template <class D, class V>
  static HWY_INLINE V gradient(D d, V y, V dy) {
    return hn::Mul(dy, hn::Mul(y, hn::Sub(hn::Set(d, 1), y)));
  }
};

template <class F, class T>
void map_value(const T* x, std::int64_t n, T* y) {
  const hn::ScalableTag<T> d;
  for_each_vector(d, n, [&](std::int64_t i, std::int64_t count) HWY_ATTR {
    store_up_to(d, F::value(d, load_up_to(d, x + i, count)), y + i, count);
  });
}

template <class F, bool accumulate, class T>
void map_gradient(const T* saved, const T* dy, std::int64_t n, T* dx) {
  const hn::ScalableTag<T> d;
  for_each_vector(d, n, [&](std::int64_t i, std::int64_t count) HWY_ATTR {
    auto gradient = F::gradient(d, load_up_to(d, saved + i, count), load_up_to(d, dy + i, count));
    if constexpr (accumulate) gradient = hn::Add(gradient, load_up_to(d, dx + i, count));
    store_up_to(d, gradient, dx + i, count);
  });
}

template <class T>
void forward_of(Function f, const T* x, std::int64_t n, T* y) {
  switch (f) {
    case Function::relu:
      return map_value<Relu>(x, n, y);
    case Function::relu6:
      return map_value<Relu6>(x, n, y);
    case Function::gelu:
      return map_value<Gelu>(x, n, y);
    case Function::sigmoid:
      return map_value<Sigmoid>(x, n, y);
  }
}

template <bool accumulate, class T>
void backward_of(Function f, const T* saved, const T* dy, std::int64_t n, T* dx) {
  switch (f) {
    case Function::relu:
      return map_gradient<Relu, accumulate>(saved, dy, n, dx);
    case Function::relu6:
      return map_gradient<Relu6, accumulate>(saved, dy, n, dx);
    case Function::gelu:
      return map_gradient<Gelu, accumulate>(saved, dy, n, dx);
    case Function::sigmoid:
      return map_gradient<Sigmoid, accumulate>(saved, dy, n, dx);
  }
}

// Elements [begin, end).
void forward(const char* op, Function f, std::int64_t begin, std::int64_t end, const Tensor& x, Tensor& y) {
  visit_real(op, x.dtype(), [&]<class T>(TypeTag<T>) {
    forward_of(f, x.data<T>() + begin, end - begin, y.data<T>() + begin);
  });
}

void backward(const char* op, Function f, std::int64_t begin, std::int64_t end, const Tensor& saved,
              const Tensor& dy, GradTarget& dx) {
  visit_real(op, dy.dtype(), [&]<class T>(TypeTag<T>) {
    const auto run = dx.accumulate ? backward_of<true, T> : backward_of<false, T>;
    run(f, saved.data<T>() + begin, dy.data<T>() + begin, end - begin, dx.tensor.data<T>() + begin);
  });
}

}  // namespace replk::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace replk::cpu {
HWY_EXPORT(forward);
HWY_EXPORT(backward);

namespace {

constexpr std::int64_t kGrain = 1 << 14;  // elements worth a thread

void run_forward(const char* op, Function f, const Tensor& x, Tensor& y) {
  parallel_for(x.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(forward)(op, f, begin, end, x, y);
  });
}

void run_backward(const char* op, Function f, const Tensor& saved, const Tensor& dy, GradTarget& dx) {
  parallel_for(dy.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(backward)(op, f, begin, end, saved, dy, dx);
  });
}

}  // namespace

void relu_forward(const Tensor& x, Tensor& y) { run_forward("relu", Function::relu, x, y); }

void relu_backward(const Tensor& y, const Tensor& dy, GradTarget dx) {
  run_backward("relu", Function::relu, y, dy, dx);
}

void relu6_forward(const Tensor& x, Tensor& y) { run_forward("relu6", Function::relu6, x, y); }

void relu6_backward(const Tensor& y, const Tensor& dy, GradTarget dx) {
  run_backward("relu6", Function::relu6, y, dy, dx);
}

void gelu_forward(const Tensor& x, Tensor& y) { run_forward("gelu", Function::gelu, x, y); }

void gelu_backward(const Tensor& x, const Tensor& dy, GradTarget dx) {
  run_backward("gelu", Function::gelu, x, dy, dx);
}

void sigmoid_forward(const Tensor& x, Tensor& y) { run_forward("sigmoid", Function::sigmoid, x, y); }

void sigmoid_backward(const Tensor& y, const Tensor& dy, GradTarget dx) {
  run_backward("sigmoid", Function::sigmoid, y, dy, dx);
}

}  // namespace replk::cpu
#endif  // HWY_ONCE
