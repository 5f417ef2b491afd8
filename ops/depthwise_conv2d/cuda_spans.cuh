// Planes that are neighbours in memory, brought into shared memory as they lie and back: 16 bytes at a time,
// however wide the planes are.
#pragma once

#include <cstdint>

#include "core/cuda/vector.cuh"

namespace replk::cuda {

/// Two elements that are read and written together.
template <class T>
struct alignas(2 * sizeof(T)) Pair : Lanes<T, 2> {};

/// Where in 16 bytes a span of memory begins, it begins in shared memory too: `shared`, a multiple of 16
/// bytes, needs room for 16 bytes more than the span.
template <class T>
__device__ T* shared_like(char* shared, const T* memory) {
  return reinterpret_cast<T*>(shared + reinterpret_cast<std::uintptr_t>(memory) % 16);
}

/// Calls whole(i) for all 16 bytes of a span that begin with its element i, and single(i) for elements in
/// front of and behind those.
template <class T, class Whole, class Single>
__device__ void for_span(const T* memory, int count, const Whole& whole, const Single& single) {
  constexpr int kLanes = kVectorLanes<T>;
  const int skew = static_cast<int>(reinterpret_cast<std::uintptr_t>(memory) % 16 / sizeof(T));
  if (skew == 0 && count % kLanes == 0) {  // the usual case, without the tests of each
    for (int i = static_cast<int>(threadIdx.x) * kLanes; i < count; i += blockDim.x * kLanes) whole(i);
    return;
  }
  for (int i = static_cast<int>(threadIdx.x) * kLanes - skew; i < count; i += blockDim.x * kLanes) {
    if (i >= 0 && i + kLanes <= count)
      whole(i);
    else
      for (int k = max(i, 0); k < min(i + kLanes, count); ++k) single(k);
  }
}

/// Starts the copies of `count` elements: they are there after wait_for_copies and a barrier.
template <class T>
__device__ void load_span(T* shared, const T* memory, int count) {
  for_span(
      memory, count, [&](int i) { copy_async(shared + i, memory + i); },
      [&](int i) { shared[i] = memory[i]; });
}

/// Elements [at, at + count) of the target.
template <class T>
__device__ void store_span(const Target<T>& target, std::int64_t at, int count, const T* shared) {
  constexpr int kLanes = kVectorLanes<T>;
  for_span(
      target.data + at, count,
      [&](int i) {
        if (target.accumulate)
          target.template put<kLanes>(at + i, load<kLanes>(shared + i));
        else
          store_raw(target.data + at + i, load_raw<kLanes>(shared + i));
      },
      [&](int i) { target.put(at + i, widen(shared[i])); });
}

}  // namespace replk::cuda
