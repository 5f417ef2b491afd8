// The activations that kernels apply to vectors: alone in ops/activations, fused in batch norm and the matrix
// product. f32 is vectorised throughout; in f64 gelu calls the standard library lane by lane.
// Include after <hwy/highway.h>, in a file that is compiled once per instruction set.

#if defined(REPLK_ACTIVATION_INL) == defined(HWY_TARGET_TOGGLE)  // once per instruction set
#ifdef REPLK_ACTIVATION_INL
#undef REPLK_ACTIVATION_INL
#else
#define REPLK_ACTIVATION_INL
#endif

#include <algorithm>
#include <cmath>
#include <numbers>

#include <hwy/highway.h>

#include "ops/primitives/activation.h"

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

// Each is a struct with value(d, x) and gradient(d, x, dy) = dy times the slope at x.

struct Identity {
  template <class D, class V>
  static HWY_INLINE V value(D, V x) {
    return x;
  }
  template <class D, class V>
  static HWY_INLINE V gradient(D, V, V dy) {
    return dy;
  }
};

/// max(x, 0). The comparisons are written so that NaN fails them and passes through.
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

/// Calls f(F()) with the struct F of the activation.
template <class Call>
HWY_INLINE void visit_activation(Activation activation, const Call& f) {
  switch (activation) {
    case Activation::none:
      return f(Identity());
    case Activation::relu:
      return f(Relu());
    case Activation::gelu:
      return f(Gelu());
  }
}

}  // namespace replk::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
