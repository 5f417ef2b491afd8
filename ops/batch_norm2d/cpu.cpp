// A channel is one row; a thread takes whole rows. Each row is swept twice: once for its sums, once for the
// result, which finds it in the cache unless the row is larger than that. An activation is applied on the way
// out; backward computes what went into it again, from x.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/batch_norm2d/cpu.cpp"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "core/parallel.h"
#include "ops/batch_norm2d/batch_norm2d.h"
#include "ops/primitives/simd_targets.h"
// Highway compiles the rest of this file once per instruction set.
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/primitives/activation-inl.h"
#include "ops/primitives/simd_row-inl.h"

#ifndef REPLK_BATCH_NORM2D_ONCE
#define REPLK_BATCH_NORM2D_ONCE
namespace replk::cpu {

constexpr std::int64_t kBlock = 2048;  // elements: at most as many are summed in the precision of the row

struct TwoSums {
  double first = 0, second = 0;
};

struct Moments {
  double mean = 0, squares = 0;  // squares: the sum of the squared deviations from the mean

  // Merges those of `count` elements whose deviations from `pivot` sum to s.first and their squares to
  // s.second, `before` elements being in already. Source: Chan et al. 1979.
  void merge(double before, double count, double pivot, TwoSums s) {
    const double delta = pivot + s.first / count - mean;
    mean += delta * count / (before + count);
    const double own = std::max(s.second - s.first * s.first / count, 0.0);  // rounding may leave it below 0
    squares += own + delta * delta * before * count / (before + count);
  }
};

}  // namespace replk::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace replk::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

template <class V>
struct Terms {
  V first, second;
};

// Sums of the two terms that f(i, count) gives for the elements from i; four partial sums of each hide the
// latency of an addition.
template <class D, class F>
HWY_INLINE TwoSums sum_terms(D d, std::int64_t n, const F& f) {
  using V = hn::Vec<D>;
  const V zero = hn::Zero(d);
  V a0 = zero, a1 = zero, a2 = zero, a3 = zero, b0 = zero, b1 = zero, b2 = zero, b3 = zero;
  const auto add = [](const Terms<V>& terms, V& a, V& b) HWY_ATTR {
    a = hn::Add(a, terms.first);
    b = hn::Add(b, terms.second);
  };
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    add(f(i, lanes), a0, b0);
    add(f(i + lanes, lanes), a1, b1);
    add(f(i + 2 * lanes, lanes), a2, b2);
    add(f(i + 3 * lanes, lanes), a3, b3);
  }
  for (; i + lanes <= n; i += lanes) add(f(i, lanes), a0, b0);
  if (i < n) add(f(i, n - i), a0, b0);
  const auto total = [&](V v0, V v1, V v2, V v3) HWY_ATTR {
    return static_cast<double>(hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(v0, v1), hn::Add(v2, v3)))));
  };
  return {total(a0, a1, a2, a3), total(b0, b1, b2, b3)};
}

// Deviations from a pivot near the mean, and their squares, in one pass: a block takes the mean of what came
// before it, the first one that of its first elements. (With the mean of k of the n elements for a pivot the
// squares sum to at most 1 + n / k times what they would about the true mean, so little cancels.)
template <class T>
Moments moments_of(const T* x, std::int64_t n) {
  constexpr std::int64_t kFirst = 64;
  const hn::ScalableTag<T> d;
  const auto about = [&](const T* from, std::int64_t count, T pivot) HWY_ATTR {
    const auto center = hn::Set(d, pivot);
    return sum_terms(d, count, [&](std::int64_t i, std::int64_t k) HWY_ATTR {
      const auto deviation = hn::Sub(load_up_to(d, from + i, k, pivot), center);
      return Terms<hn::Vec<decltype(d)>>{deviation, hn::Mul(deviation, deviation)};
    });
  };
  const std::int64_t first = std::min(n, kFirst);
  Moments moments;
  moments.mean = about(x, first, T{0}).first / static_cast<double>(first);
  for (std::int64_t i = 0; i < n; i += kBlock) {
    const std::int64_t count = std::min(kBlock, n - i);
    const T pivot = static_cast<T>(moments.mean);
    moments.merge(static_cast<double>(i), static_cast<double>(count), static_cast<double>(pivot),
                  about(x + i, count, pivot));
  }
  return moments;
}

// What a channel does to x before the activation: (x - mean) scale + shift.
template <class T>
struct Affine {
  T mean, scale, shift;
  template <class D, class V>
  HWY_INLINE V operator()(D d, V x) const {
    return hn::MulAdd(hn::Sub(x, hn::Set(d, mean)), hn::Set(d, scale), hn::Set(d, shift));
  }
};

// y = F((x - mean) scale + shift)
template <class F, class T>
void normalise(const T* x, std::int64_t n, const Affine<T> affine, T* y) {
  const hn::ScalableTag<T> d;
  for_each_vector(d, n, [&](std::int64_t i, std::int64_t count) HWY_ATTR {
    store_up_to(d, F::value(d, affine(d, load_up_to(d, x + i, count))), y + i, count);
  });
}

// dz = dy F'(z), z being what went into the activation.
template <class F, class T>
void undo_activation(const T* x, const T* dy, std::int64_t n, const Affine<T> affine, T* dz) {
  const hn::ScalableTag<T> d;
  for_each_vector(d, n, [&](std::int64_t i, std::int64_t count) HWY_ATTR {
    const auto z = affine(d, load_up_to(d, x + i, count));
    store_up_to(d, F::gradient(d, z, load_up_to(d, dy + i, count)), dz + i, count);
  });
}

// Sums of dz and of dz (x - mean); puts dz into memory too, which without an activation is dy itself.
template <class F, class T>
TwoSums gradient_sums(const T* x, const T* dy, std::int64_t n, const Affine<T>& affine, T* dz) {
  const hn::ScalableTag<T> d;
  const auto center = hn::Set(d, affine.mean);
  TwoSums total;
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    const std::int64_t size = std::min(kBlock, n - begin);
    const T *from = x + begin, *gradients = dy + begin;
    if constexpr (!std::is_same_v<F, Identity>) {
      undo_activation<F>(from, gradients, size, affine, dz + begin);
      gradients = dz + begin;
    }
    const TwoSums block = sum_terms(d, size, [&](std::int64_t i, std::int64_t count) HWY_ATTR {
      const auto gradient = load_up_to(d, gradients + i, count);
      const auto deviation = hn::Sub(load_up_to(d, from + i, count), center);
      return Terms<hn::Vec<decltype(d)>>{gradient, hn::Mul(gradient, deviation)};
    });
    total.first += block.first;
    total.second += block.second;
  }
  return total;
}

// dx = dz scale - (x - mean) slope - offset, added to dx where `accumulate`. dz may be dx.
template <bool accumulate, class T>
void input_gradient(const T* x, const T* dz, std::int64_t n, T mean, T scale, T slope, T offset, T* dx) {
  const hn::ScalableTag<T> d;
  const auto center = hn::Set(d, mean), factor = hn::Set(d, scale), steep = hn::Set(d, slope),
             less = hn::Set(d, offset);
  for_each_vector(d, n, [&](std::int64_t i, std::int64_t count) HWY_ATTR {
    const auto deviation = hn::Sub(load_up_to(d, x + i, count), center);
    const auto direct = hn::MulSub(load_up_to(d, dz + i, count), factor, less);
    auto gradient = hn::NegMulAdd(deviation, steep, direct);
    if constexpr (accumulate) gradient = hn::Add(gradient, load_up_to(d, dx + i, count));
    store_up_to(d, gradient, dx + i, count);
  });
}

// The public kernels for the channels [begin, end).

void forward_training(const BatchNorm2dGeometry& g, std::int64_t begin, std::int64_t end, const Tensor& x,
                      const Tensor& weight, const Tensor& bias, const BatchNorm2dParams& params, Tensor& mean,
                      Tensor& inverse_std, Tensor& running_mean, Tensor& running_var, Tensor& y) {
  visit_real("batch_norm2d", x.dtype(), [&]<class T>(TypeTag<T>) {
    const T *w = weight.data<T>(), *b = bias.data<T>();
    T *means = mean.data<T>(), *inverse = inverse_std.data<T>();
    T *running_means = running_mean.data<T>(), *running_vars = running_var.data<T>();
    const auto n = static_cast<double>(g.columns);
    const auto move = [&](T& running, double batch) {
      running =
          static_cast<T>((1 - params.momentum) * static_cast<double>(running) + params.momentum * batch);
    };
    visit_activation(params.activation, [&]<class F>(F) {
      for (std::int64_t c = begin; c < end; ++c) {
        const T* row = x.data<T>() + c * g.columns;
        const Moments moments = moments_of(row, g.columns);
        means[c] = static_cast<T>(moments.mean);
        inverse[c] = static_cast<T>(1 / std::sqrt(moments.squares / n + params.eps));
        if (params.update_statistics) {
          move(running_means[c], moments.mean);
          move(running_vars[c], moments.squares / (n - 1));
        }
        normalise<F, T>(row, g.columns, {means[c], w[c] * inverse[c], b[c]}, y.data<T>() + c * g.columns);
      }
    });
  });
}

void forward_eval(const BatchNorm2dGeometry& g, std::int64_t begin, std::int64_t end, const Tensor& x,
                  const Tensor& weight, const Tensor& bias, const BatchNorm2dParams& params,
                  const Tensor& running_mean, const Tensor& running_var, Tensor& mean, Tensor& inverse_std,
                  Tensor& y) {
  visit_real("batch_norm2d", x.dtype(), [&]<class T>(TypeTag<T>) {
    const T *w = weight.data<T>(), *b = bias.data<T>();
    const T *running_means = running_mean.data<T>(), *running_vars = running_var.data<T>();
    T *means = mean.data<T>(), *inverse = inverse_std.data<T>();
    visit_activation(params.activation, [&]<class F>(F) {
      for (std::int64_t c = begin; c < end; ++c) {
        means[c] = running_means[c];
        inverse[c] = static_cast<T>(1 / std::sqrt(static_cast<double>(running_vars[c]) + params.eps));
        normalise<F, T>(x.data<T>() + c * g.columns, g.columns, {means[c], w[c] * inverse[c], b[c]},
                        y.data<T>() + c * g.columns);
      }
    });
  });
}

template <class F, class T>
void backward_rows(const BatchNorm2dGeometry& g, std::int64_t begin, std::int64_t end,
                   const BatchNorm2dSaved& saved, bool training, const Tensor& dy,
                   BatchNorm2dGradients& into) {
  constexpr bool has_activation = !std::is_same_v<F, Identity>;
  const T *w = saved.weight.data<T>(), *means = saved.mean.data<T>(), *inverse = saved.inverse_std.data<T>();
  const T* b = saved.bias.data<T>();
  const auto put = [](GradTarget& target, std::int64_t c, double value) {
    if (!target.tensor.defined()) return;
    T& place = target.tensor.data<T>()[c];
    place = static_cast<T>(target.accumulate ? static_cast<double>(place) + value : value);
  };
  const bool wants_x = into.x.tensor.defined();
  const bool sums = training || into.weight.tensor.defined() || into.bias.tensor.defined() || has_activation;
  // dz lies where dx will, or in a row of its own where that holds something already.
  Tensor row_of_dz;
  if (has_activation && (!wants_x || into.x.accumulate)) row_of_dz = Tensor::empty({g.columns}, dy.dtype());
  const auto n = static_cast<double>(g.columns);
  for (std::int64_t c = begin; c < end; ++c) {
    const T *row = saved.x.data<T>() + c * g.columns, *drow = dy.data<T>() + c * g.columns;
    T* dx = wants_x ? into.x.tensor.data<T>() + c * g.columns : nullptr;
    T* dz = row_of_dz.defined() ? row_of_dz.data<T>() : dx;
    const auto r = static_cast<double>(inverse[c]);
    TwoSums s;
    if (sums) s = gradient_sums<F, T>(row, drow, g.columns, {means[c], w[c] * inverse[c], b[c]}, dz);
    put(into.weight, c, s.second * r);
    put(into.bias, c, s.first);
    if (!wants_x) continue;
    const double scale = static_cast<double>(w[c]) * r;
    const double slope = training ? scale * r * r * s.second / n : 0,
                 offset = training ? scale * s.first / n : 0;
    const auto write = into.x.accumulate ? input_gradient<true, T> : input_gradient<false, T>;
    write(row, has_activation ? dz : drow, g.columns, means[c], static_cast<T>(scale), static_cast<T>(slope),
          static_cast<T>(offset), dx);
  }
}

void backward(const BatchNorm2dGeometry& g, std::int64_t begin, std::int64_t end,
              const BatchNorm2dSaved& saved, const BatchNorm2dParams& params, const Tensor& dy,
              BatchNorm2dGradients& into) {
  visit_real("batch_norm2d", dy.dtype(), [&]<class T>(TypeTag<T>) {
    visit_activation(params.activation, [&]<class F>(F) {
      backward_rows<F, T>(g, begin, end, saved, params.training, dy, into);
    });
  });
}

}  // namespace
}  // namespace replk::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace replk::cpu {
HWY_EXPORT(forward_training);
HWY_EXPORT(forward_eval);
HWY_EXPORT(backward);

namespace {

// Calls f(begin, end) for ranges of channels.
template <class F>
void for_channels(const BatchNorm2dGeometry& g, const F& f) {
  constexpr std::int64_t kWorkPerThread = 1 << 14;  // elements
  parallel_for(g.channels, kWorkPerThread / std::max<std::int64_t>(g.columns, 1) + 1, f);
}

}  // namespace

void batch_norm2d_forward_training(const BatchNorm2dGeometry& g, const Tensor& x, const Tensor& weight,
                                   const Tensor& bias, const BatchNorm2dParams& params, Tensor& mean,
                                   Tensor& inverse_std, Tensor& running_mean, Tensor& running_var,
                                   Tensor& y) {
  for_channels(g, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(forward_training)
    (g, begin, end, x, weight, bias, params, mean, inverse_std, running_mean, running_var, y);
  });
}

void batch_norm2d_forward_eval(const BatchNorm2dGeometry& g, const Tensor& x, const Tensor& weight,
                               const Tensor& bias, const BatchNorm2dParams& params,
                               const Tensor& running_mean, const Tensor& running_var, Tensor& mean,
                               Tensor& inverse_std, Tensor& y) {
  for_channels(g, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(forward_eval)
    (g, begin, end, x, weight, bias, params, running_mean, running_var, mean, inverse_std, y);
  });
}

void batch_norm2d_backward(const BatchNorm2dGeometry& g, const BatchNorm2dSaved& saved,
                           const BatchNorm2dParams& params, const Tensor& dy, BatchNorm2dGradients into) {
  for_channels(g, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(backward)(g, begin, end, saved, params, dy, into);
  });
}

}  // namespace replk::cpu
#endif  // HWY_ONCE
