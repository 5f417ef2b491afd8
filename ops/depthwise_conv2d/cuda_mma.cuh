// How each element type multiplies on the tensor cores (core/cuda/instructions.cuh).
#pragma once

#include <cstdint>

#include "core/cuda/vector.cuh"

namespace replk::cuda {

/// x = high + low, each with the 11 significant bits that the tensor cores read of an f32 (tf32). What is
/// lost is below 2^-22 of x.
struct Split {
  std::uint32_t high, low;
};
__device__ inline Split split(float x) {
  Split s;
  s.high = round_to_tf32(x);
  s.low = round_to_tf32(x - __uint_as_float(s.high));
  return s;
}

template <class T>
struct Mma {  // bf16, f16
  static constexpr int kDepth = 16;
  using A = FragmentA;
  using B = FragmentB;
  __device__ static A prepare(const FragmentA& a) { return a; }
  __device__ static B prepare(const FragmentB& b) { return b; }
  __device__ static void run(float (&c)[4], const A& a, const B& b) { multiply(c, a, b, T{}); }
};

/// f32 as three products of halves, (ah + al)(bh + bl) without al bl: the error is that of f32 sums.
template <>
struct Mma<float> {
  static constexpr int kDepth = 8;
  struct A {
    FragmentA high, low;
  };
  struct B {
    FragmentB high, low;
  };
  __device__ static A prepare(const FragmentA& a) {
    A result;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const Split s = split(__uint_as_float(a.x[i]));
      result.high.x[i] = s.high, result.low.x[i] = s.low;
    }
    return result;
  }
  __device__ static B prepare(const FragmentB& b) {
    B result;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const Split s = split(__uint_as_float(b.x[i]));
      result.high.x[i] = s.high, result.low.x[i] = s.low;
    }
    return result;
  }
  __device__ static void run(float (&c)[4], const A& a, const B& b) {
    multiply_tf32(c, a.low, b.high);
    multiply_tf32(c, a.high, b.low);
    multiply_tf32(c, a.high, b.high);
  }
};

}  // namespace replk::cuda
