// Numbers on the device: the type in which each element type is computed, and loads and stores of 16 bytes.
#pragma once

#include <cstdint>
#include <cstring>
#include <initializer_list>

#include "core/cuda/instructions.cuh"
#include "core/dtype.h"

namespace replk::cuda {

/// The type in which elements of type T are computed and summed: f64 for f64, f32 for f32, bf16 and f16.
template <class T>
struct AccumulatorOf {
  using type = float;
};
template <>
struct AccumulatorOf<double> {
  using type = double;
};
template <class T>
using Accumulator = typename AccumulatorOf<T>::type;

__device__ inline float widen(float x) { return x; }
__device__ inline double widen(double x) { return x; }
__device__ inline float widen(bf16 x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }

/// Rounds to nearest, ties to even, as the CPU does.
template <class T>
__device__ inline T narrow(Accumulator<T> x) {
  if constexpr (std::is_same_v<T, bf16>) {
    return round_to_bf16(x);
  } else if constexpr (std::is_same_v<T, f16>) {
    return round_to_f16(x);
  } else {
    return x;
  }
}

/// A few adjacent elements in registers.
template <class T, int n>
struct Lanes {
  T values[n];
  __device__ T& operator[](int i) { return values[i]; }
  __device__ const T& operator[](int i) const { return values[i]; }
};

/// Elements of T in 16 bytes, the widest load there is.
template <class T>
inline constexpr int kVectorLanes = 16 / static_cast<int>(sizeof(T));

/// The lanes of a kernel that reads and writes several types: those of the narrowest, of which 16 bytes hold
/// the most; the wider ones take several loads.
template <class... T>
inline constexpr int kCommonLanes = [] {
  int most = 1;
  for (const int lanes : {kVectorLanes<T>...}) most = lanes > most ? lanes : most;
  return most;
}();

inline constexpr std::size_t kVectorBytes = 16;

/// True when every pointer is a multiple of 16 bytes: what a load or store of more than one element needs.
/// (Tensors are, slices and rows need not be.)
template <class... P>
bool aligned(const P*... pointers) {
  return ((reinterpret_cast<std::uintptr_t>(pointers) % kVectorBytes == 0) && ...);
}

/// Elements p[0] ... p[n - 1] as they are. For n > 1 p must be a multiple of 16 bytes, and so must n
/// elements.
template <int n, class T>
__device__ inline Lanes<T, n> load_raw(const T* p) {
  Lanes<T, n> lanes;
  if constexpr (n == 1) {
    lanes[0] = *p;
  } else {
    constexpr int kChunks = n * static_cast<int>(sizeof(T)) / 16;
    static_assert(kChunks * 16 == n * static_cast<int>(sizeof(T)), "whole vectors expected");
    uint4 chunks[kChunks];
    for (int c = 0; c < kChunks; ++c) chunks[c] = reinterpret_cast<const uint4*>(p)[c];
    memcpy(&lanes, chunks, sizeof(chunks));
  }
  return lanes;
}

/// To device memory (not shared memory).
template <int n, class T>
__device__ inline void store_raw(T* p, const Lanes<T, n>& lanes) {
  if constexpr (n == 1) {
    *p = lanes[0];
  } else {
    constexpr int kChunks = n * static_cast<int>(sizeof(T)) / 16;
    static_assert(kChunks * 16 == n * static_cast<int>(sizeof(T)), "whole vectors expected");
    uint4 chunks[kChunks];
    memcpy(chunks, &lanes, sizeof(chunks));
    for (int c = 0; c < kChunks; ++c) store_vector(reinterpret_cast<uint4*>(p) + c, chunks[c]);
  }
}

template <class T, int n>
__device__ inline Lanes<Accumulator<T>, n> widen(const Lanes<T, n>& raw) {
  Lanes<Accumulator<T>, n> wide;
  for (int i = 0; i < n; ++i) wide[i] = widen(raw[i]);
  return wide;
}
template <class T, int n>
__device__ inline Lanes<T, n> narrow(const Lanes<Accumulator<T>, n>& wide) {
  Lanes<T, n> raw;
  if constexpr (sizeof(T) == 2 && n % 2 == 0) {
    std::uint32_t pairs[n / 2];
    for (int i = 0; i < n / 2; ++i) pairs[i] = round_pair(wide[2 * i], wide[2 * i + 1], T{});
    memcpy(&raw, pairs, sizeof(raw));
  } else {
    for (int i = 0; i < n; ++i) raw[i] = narrow<T>(wide[i]);
  }
  return raw;
}

/// The same, in the type in which one computes.
template <int n, class T>
__device__ inline Lanes<Accumulator<T>, n> load(const T* p) {
  return widen(load_raw<n>(p));
}
template <int n, class T>
__device__ inline void store(T* p, const Lanes<Accumulator<T>, n>& wide) {
  store_raw(p, narrow<T>(wide));
}

/// Where a kernel puts a gradient: overwrites, or adds to what is there, in the accumulator's precision.
template <class T>
struct Target {
  T* data;
  bool accumulate;

  template <int n>
  __device__ void put(std::int64_t i, Lanes<Accumulator<T>, n> gradient) const {
    if (accumulate) {
      const auto before = load<n>(data + i);
      for (int k = 0; k < n; ++k) gradient[k] += before[k];
    }
    store(data + i, gradient);
  }
  __device__ void put(std::int64_t i, Accumulator<T> gradient) const {
    data[i] = narrow<T>(accumulate ? widen(data[i]) + gradient : gradient);
  }
};

}  // namespace replk::cuda
