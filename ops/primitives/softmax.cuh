// What softmax, log-softmax and cross entropy share on the GPU: the normaliser of one row of logits.
#pragma once

#include "core/cuda/launch.cuh"
#include "core/cuda/vector.cuh"

namespace replk::cuda {

/// log softmax(x)[k] = (x[k] - max) - log_sum, as on the CPU (ops/primitives/softmax.h).
template <class A>
struct SoftmaxNormaliser {
  A max, log_sum;
  __device__ A log_probability(A logit) const { return (logit - max) - log_sum; }
  __device__ A probability(A logit) const { return exp(log_probability(logit)); }
};

/// The threads that work on one row together: a warp, for rows whose elements lie side by side, or a single
/// thread, for rows that lie side by side themselves. Each takes the elements member(), member() + size, ...
/// All threads of a warp must call the sums together.
template <int size>
struct Team {
  static_assert(size == 1 || size == kWarp);
  static constexpr int kSize = size;
  __device__ static int member() { return static_cast<int>(threadIdx.x) % size; }

  /// f(a, f(b, ...)) over the team, in every member, in a fixed order.
  template <class A, class F>
  __device__ static A reduce(A value, const F& f) {
#pragma unroll
    for (int distance = size / 2; distance > 0; distance /= 2)
      value = f(value, __shfl_xor_sync(0xffffffffu, value, distance));
    return value;
  }
  template <class A>
  __device__ static A sum(A value) {
    return reduce(value, [](A a, A b) { return a + b; });
  }
  template <class A>
  __device__ static A max(A value) {
    return reduce(value, [](A a, A b) { return fmax(a, b); });
  }
};

/// Blocks for `rows` teams; a kernel's row is  thread_index() / size.
template <int size>
Grid team_grid(std::int64_t rows) {
  return {ceil_div(rows * size, kThreads), kThreads};
}

/// Element k of a row of logits, or of what is laid out like them, in the type one computes in.
template <class T>
struct LogitRow {
  const T* first;
  std::int64_t stride;
  __device__ Accumulator<T> operator[](std::int64_t k) const { return widen(first[k * stride]); }
};

/// Of a row with at least one element, in every member of the team. NaN where a logit is NaN or +infinity.
template <class Members, class T>
__device__ SoftmaxNormaliser<Accumulator<T>> softmax_normaliser(LogitRow<T> x, std::int64_t classes) {
  using A = Accumulator<T>;
  A max = x[0];
  for (std::int64_t k = Members::member(); k < classes; k += Members::kSize) max = fmax(max, x[k]);
  max = Members::max(max);
  A sum = 0;
  for (std::int64_t k = Members::member(); k < classes; k += Members::kSize) sum += exp(x[k] - max);
  return {max, log(Members::sum(sum))};
}

}  // namespace replk::cuda
