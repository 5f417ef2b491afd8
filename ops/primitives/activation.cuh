// The functions of one element that activations, batch norm and products share on the GPU. NaN stays NaN in
// all.
#pragma once

#include "core/cuda/vector.cuh"
#include "ops/primitives/activation.h"

namespace replk::cuda {

struct Identity {
  template <class A>
  __device__ static A value(A x) {
    return x;
  }
  template <class A>
  __device__ static A slope(A) {
    return 1;
  }
};

struct Relu {
  template <class A>
  __device__ static A value(A x) {
    return x <= 0 ? A{0} : x;
  }
  /// Of x or of the result, which are positive together.
  template <class A>
  __device__ static A slope(A x) {
    return x <= 0 ? A{0} : A{1};
  }
};

/// x Phi(x). In f64 by erfc. In f32 with t = |x| Phi(-t) = E R(t), E = exp(-t^2 / 2) and R the quotient of
/// polynomials that the CPU uses (ops/primitives/activation-inl.h): a quarter of the instructions of erfc,
/// which would take longer than the memory does. The fast exponential is off by 4e-7 of E where E is 1e-3.
struct Gelu {
  struct Tail {
    float t, e, r;
  };
  __device__ static Tail tail_of(float x) {
    const float size = fabsf(x), t = size > 14.5f ? 14.5f : size;  // so that NaN passes
    const float above =
        0.5f + t * (0.4382954007f + t * (0.1832353949f + t * (0.04063329109f + t * 0.004116312163f)));
    const float below =
        1.0f + t * (1.674475782f +
                    t * (1.202504376f + t * (0.4694712893f + t * (0.1018590029f + t * 0.01031794472f))));
    return {t, __expf(-0.5f * t * t), above * reciprocal(below)};
  }

  __device__ static float value(float x) {
    const auto [t, e, r] = tail_of(x);
    return Relu::value(x) - e * (t * r);
  }
  __device__ static float slope(float x) {
    const auto [t, e, r] = tail_of(x);
    const float left = e * (r - t * 0.3989422804f);  // the slope at -t; at t it is 1 - left
    return x > 0 ? 1 - left : left;
  }
  __device__ static double value(double x) {
    return isinf(x) ? fmax(x, 0.0) : x * erfc(x * -0.70710678118654752440) / 2;
  }
  __device__ static double slope(double x) {
    const double cdf = erfc(x * -0.70710678118654752440) / 2;
    return isinf(x) ? cdf : cdf + x * exp(x * x / -2) * 0.39894228040143267794;
  }
};

/// Calls f(Identity{}), f(Relu{}) or f(Gelu{}).
template <class F>
void visit_activation(Activation activation, const F& f) {
  switch (activation) {
    case Activation::none:
      return f(Identity{});
    case Activation::relu:
      return f(Relu{});
    case Activation::gelu:
      return f(Gelu{});
  }
}

}  // namespace replk::cuda
