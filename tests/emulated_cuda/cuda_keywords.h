// CUDA's keywords and built-in functions in C++. Included before everything else when a .cu file is compiled
// for the emulated GPU.
#pragma once

#include <math.h>  // NOLINT: with its functions at global scope, as in CUDA

#include <algorithm>
#include <bit>
#include <cstring>

#include "tests/emulated_cuda/device.h"

#define __device__
#define __host__
#define __global__
#define __shared__ static  // blocks run one after the other
#define __launch_bounds__(...)
#define __forceinline__ inline

using replk::emulated::blockDim;
using replk::emulated::blockIdx;
using replk::emulated::gridDim;
using replk::emulated::threadIdx;
using std::max;
using std::min;

inline void __syncthreads() { replk::emulated::sync_block(); }
inline void __syncwarp() { replk::emulated::sync_warp(); }

template <class T>
T __shfl_sync(unsigned, T value, unsigned source) {
  return replk::emulated::from_lane(value, source);
}
template <class T>
T __shfl_down_sync(unsigned, T value, unsigned distance) {
  return replk::emulated::from_lane(value, replk::emulated::lane() + distance);
}
template <class T>
T __shfl_xor_sync(unsigned, T value, unsigned mask) {
  return replk::emulated::from_lane(value, replk::emulated::lane() ^ mask);
}

inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(std::uint64_t{a} * b >> 32); }
inline float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline double rsqrt(double x) { return 1 / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __fdividef(float a, float b) { return a / b; }
