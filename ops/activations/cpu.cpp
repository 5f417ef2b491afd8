#include <cmath>
#include <numbers>

#include "core/parallel.h"
#include "ops/activations/activations.h"

namespace replk::cpu {
namespace {

constexpr std::int64_t kGrain = 1 << 14;  // elements worth a thread

template <class F>
void map_forward(const char* op, const Tensor& x, Tensor& y, const F& f) {
  visit_real(op, x.dtype(), [&]<class T>(TypeTag<T>) {
    const T* from = x.data<T>();
    T* to = y.data<T>();
    parallel_for(x.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) to[i] = f(from[i]);
    });
  });
}

template <class F>
void map_backward(const char* op, const Tensor& saved, const Tensor& dy, GradTarget dx, const F& f) {
  visit_real(op, dy.dtype(), [&]<class T>(TypeTag<T>) {
    const T *value = saved.data<T>(), *from = dy.data<T>();
    T* to = dx.tensor.data<T>();
    parallel_for(dy.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
      if (dx.accumulate)
        for (std::int64_t i = begin; i < end; ++i) to[i] += f(value[i], from[i]);
      else
        for (std::int64_t i = begin; i < end; ++i) to[i] = f(value[i], from[i]);
    });
  });
}

// Phi(x) through erfc, which keeps its relative accuracy where Phi is tiny.
template <class T>
T normal_cdf(T x) {
  return T{0.5} * std::erfc(-x * (std::numbers::sqrt2_v<T> / 2));
}

}  // namespace

// Comparisons are written so that NaN fails them and passes through.
void relu_forward(const Tensor& x, Tensor& y) {
  map_forward("relu", x, y, []<class T>(T v) { return v <= 0 ? T{0} : v; });
}

void relu_backward(const Tensor& y, const Tensor& dy, GradTarget dx) {
  map_backward("relu", y, dy, dx, []<class T>(T v, T d) { return v <= 0 ? T{0} : d; });
}

void relu6_forward(const Tensor& x, Tensor& y) {
  map_forward("relu6", x, y, []<class T>(T v) { return v <= 0 ? T{0} : v >= 6 ? T{6} : v; });
}

void relu6_backward(const Tensor& y, const Tensor& dy, GradTarget dx) {
  map_backward("relu6", y, dy, dx, []<class T>(T v, T d) { return v <= 0 || v >= 6 ? T{0} : d; });
}

void gelu_forward(const Tensor& x, Tensor& y) {
  map_forward("gelu", x, y, []<class T>(T v) {
    return v == -std::numeric_limits<T>::infinity() ? T{-0.0} : v * normal_cdf(v);
  });
}

void gelu_backward(const Tensor& x, const Tensor& dy, GradTarget dx) {
  map_backward("gelu", x, dy, dx, []<class T>(T v, T d) {
    const T density = std::exp(v * v / -2) * (std::numbers::inv_sqrtpi_v<T> * std::numbers::sqrt2_v<T> / 2);
    return d * (normal_cdf(v) + (std::isinf(v) ? T{0} : v * density));
  });
}

void sigmoid_forward(const Tensor& x, Tensor& y) {
  map_forward("sigmoid", x, y, []<class T>(T v) {
    const T e = std::exp(-std::abs(v));  // never overflows
    return (v >= 0 ? T{1} : e) / (1 + e);
  });
}

void sigmoid_backward(const Tensor& y, const Tensor& dy, GradTarget dx) {
  map_backward("sigmoid", y, dy, dx, []<class T>(T v, T d) { return d * (v * (1 - v)); });
}

}  // namespace replk::cpu
