// Every function is a struct with `value(x)` and `gradient(saved, dy)` on vectors; one loop applies either to
// an array. f32 is vectorised throughout; in f64 gelu and sigmoid call the standard library lane by lane.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/activations/cpu.cpp"

#include <cmath>
#include <numbers>

#include "core/parallel.h"
#include "ops/activations/activations.h"
#include "ops/primitives/simd_targets.h"
// Highway compiles the rest of this file once per instruction set.
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

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

template <class D, class V>
HWY_INLINE V capped(D d, V x, hn::TFromD<D> limit) {  // min(x, limit), but NaN stays NaN
  const V top = hn::Set(d, limit);
  return hn::IfThenElse(hn::Gt(x, top), top, x);
}

// f(x) for each lane, for what has no vector code.
template <class D, class V, class F>
HWY_INLINE V lane_by_lane(D d, V x, F f) {
  HWY_ALIGN hn::TFromD<D> lanes[hn::MaxLanes(d)];
  hn::Store(x, d, lanes);
  for (auto& lane : lanes) lane = f(lane);
  return hn::Load(d, lanes);
}

// c[0] + c[1] x + ... + c[n-1] x^(n-1), by Horner.
template <std::size_t n, class D, class V>
HWY_INLINE V polynomial(D d, V x, const float (&c)[n]) {
  V sum = hn::Set(d, c[n - 1]);
  for (std::size_t i = n - 1; i-- > 0;) sum = hn::MulAdd(sum, x, hn::Set(d, c[i]));
  return sum;
}

template <class D, class VI>
HWY_INLINE hn::Vec<D> power_of_two(D d, VI n) {  // n in [-126, 127]
  return hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(n, hn::Set(hn::RebindToSigned<D>(), 127))));
}

// exp(a + b) for -105 <= a + b <= 0 and b small beside a, to about an ulp, down to the smallest denormal.
// With n = round((a + b) / ln 2), exp(a + b) = 2^n exp(r), |r| <= ln 2 / 2; ln 2 is given in two parts of
// which the first makes n ln 2 exact. The polynomial is the minimax one for (exp(r) - 1 - r) / r^2, 3e-9 off.
template <class D, class V>
HWY_INLINE V exp_of_sum(D d, V a, V b) {
  static constexpr float kTail[] = {0.4999999345f, 0.1666652069f, 0.04166838731f, 0.008368710101f,
                                    0.001381461703f};
  // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
  const V shifter = hn::Set(d, 12582912.0f);
  const V shifted = hn::MulAdd(hn::Add(a, b), hn::Set(d, std::numbers::log2e_v<float>), shifter);
  const V whole = hn::Sub(shifted, shifter);
  const hn::RebindToSigned<D> di;
  const auto n = hn::Sub(hn::BitCast(di, shifted), hn::BitCast(di, shifter));
  const V reduced = hn::NegMulAdd(whole, hn::Set(d, 0.693359375f), a);
  const V r = hn::Add(hn::NegMulAdd(whole, hn::Set(d, -2.12194440e-4f), reduced), b);
  const V power = hn::Add(hn::MulAdd(hn::Mul(r, r), polynomial(d, r, kTail), r), hn::Set(d, 1.0f));
  // 2^n in two factors, since n goes below the exponents of normal numbers.
  const auto half = hn::ShiftRight<1>(n);
  return hn::Mul(hn::Mul(power, power_of_two(d, half)), power_of_two(d, hn::Sub(n, half)));
}

// The comparisons are written so that NaN fails them and passes through.
struct Relu {
  template <class D, class V>
  static HWY_INLINE V value(D d, V x) {
    return hn::IfThenZeroElse(hn::Le(x, hn::Zero(d)), x);
  }
  template <class D, class V>
  static HWY_INLINE V gradient(D d, V y, V dy) {
    return hn::IfThenZeroElse(hn::Le(y, hn::Zero(d)), dy);
  }
};

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

// In f32, with t = |x|: Phi(-t) = E R(t), where E = exp(-t^2 / 2) and R falls slowly from 1/2 as 1 / (t
// sqrt(2 pi)). R is a quotient of polynomials without a negative coefficient, so nothing cancels; its
// relative error is 6e-9 (minimax for 0 <= t <= 14.5, where E underflows).
struct Gelu {
  template <class V>
  struct Tail {
    V t, e, r;
  };

  template <class D, class V>
  static HWY_INLINE Tail<V> tail_of(D d, V x) {
    static constexpr float kAbove[] = {0.5f, 0.4382954007f, 0.1832353949f, 0.04063329109f, 0.004116312163f};
    static constexpr float kBelow[] = {1.0f,          1.674475782f,  1.202504376f,
                                       0.4694712893f, 0.1018590029f, 0.01031794472f};
    const V t = capped(d, hn::Abs(x), 14.5f), minus_half = hn::Set(d, -0.5f);
    // t^2 in two parts: high has 12 bits, so that its square is exact with or without fused multiply-add.
    const hn::RebindToUnsigned<D> du;
    const V high = hn::BitCast(d, hn::And(hn::BitCast(du, t), hn::Set(du, 0xFFFFF000u)));
    const V low = hn::Mul(hn::Sub(t, high), hn::Add(t, high));
    const V e = exp_of_sum(d, hn::Mul(minus_half, hn::Mul(high, high)), hn::Mul(minus_half, low));
    return {t, e, hn::Div(polynomial(d, t, kAbove), polynomial(d, t, kBelow))};
  }

  template <class D, class V>
  static HWY_INLINE V value(D d, V x) {
    if constexpr (sizeof(hn::TFromD<D>) == 4) {
      const auto [t, e, r] = tail_of(d, x);
      const V tail = hn::Mul(e, hn::Mul(t, r));  // t Phi(-t): what is missing to relu
      return hn::Sub(Relu::value(d, x), tail);
    } else {
      return lane_by_lane(d, x, [](double v) {
        return std::isinf(v) ? std::max(v, 0.0) : v * std::erfc(-v * (std::numbers::sqrt2 / 2)) / 2;
      });
    }
  }

  template <class D, class V>
  static HWY_INLINE V gradient(D d, V x, V dy) {
    if constexpr (sizeof(hn::TFromD<D>) == 4) {
      const auto [t, e, r] = tail_of(d, x);
      const V density = hn::Set(d, std::numbers::inv_sqrtpi_v<float> / std::numbers::sqrt2_v<float>);
      const V left = hn::Mul(e, hn::NegMulAdd(t, density, r));  // the slope at -t; at t it is 1 - left
      return hn::Mul(dy, hn::IfThenElse(hn::Gt(x, hn::Zero(d)), hn::Sub(hn::Set(d, 1), left), left));
    } else {
      return hn::Mul(dy, lane_by_lane(d, x, [](double v) {
                       const double cdf = std::erfc(-v * (std::numbers::sqrt2 / 2)) / 2;
                       const double density =
                           std::exp(v * v / -2) * (std::numbers::inv_sqrtpi / std::numbers::sqrt2);
                       return std::isinf(v) ? cdf : cdf + v * density;
                     }));
    }
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
