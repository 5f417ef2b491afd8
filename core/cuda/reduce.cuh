// Sums over the rows of a matrix: the same bits on every run, because what is added to what depends on the
// shape alone. No atomics.
#pragma once

#include "core/cuda/launch.cuh"
#include "core/cuda/vector.cuh"
#include "core/tensor.h"

namespace replk::cuda {

// Whatever is summed is a trivially copyable struct Sum with  static Sum zero()  and  merge(const Sum&).

/// n running sums of one type.
template <class A, int n>
struct Sums {
  A values[n];

  __device__ static Sums zero() {
    Sums result;
    for (int i = 0; i < n; ++i) result.values[i] = 0;
    return result;
  }
  __device__ void merge(const Sums& other) {
    for (int i = 0; i < n; ++i) values[i] += other.values[i];
  }
  __device__ A& operator[](int i) { return values[i]; }
  __device__ const A& operator[](int i) const { return values[i]; }
};

/// The `value` of the thread `distance` lanes further on in the warp. All 32 lanes must call it.
template <class S>
__device__ S shuffle_down(const S& value, int distance) {
  static_assert(sizeof(S) % 4 == 0, "whole words expected");
  unsigned words[sizeof(S) / 4];
  memcpy(words, &value, sizeof(S));
  for (unsigned& word : words) word = __shfl_down_sync(0xffffffffu, word, static_cast<unsigned>(distance));
  S result;
  memcpy(&result, words, sizeof(S));
  return result;
}

/// The sum over the warp, in lane 0.
template <class S>
__device__ S warp_reduce(S value) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) value.merge(shuffle_down(value, distance));
  return value;
}

/// The sum over the block, in thread 0. The block must be whole warps, and all threads must call it; calling
/// it again needs no barrier in between.
template <class S>
__device__ S block_reduce(S value) {
  alignas(16) __shared__ unsigned char storage[kWarp * sizeof(S)];
  S* of_warp = reinterpret_cast<S*>(storage);
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  value = warp_reduce(value);
  __syncthreads();  // an earlier call may still be reading
  if (lane == 0) of_warp[warp] = value;
  __syncthreads();
  if (warp == 0) {
    value = lane < static_cast<int>(blockDim.x) / kWarp ? of_warp[lane] : S::zero();
    value = warp_reduce(value);
  }
  return value;
}

/// A block sums one part of one row and hands the sum to the row's end, or leaves it for finish_rows_kernel.
/// Part p of a row is its elements [p * part, (p + 1) * part), `part` being a multiple of `lanes`.
template <int lanes, class F>
__global__ void reduce_rows_kernel(std::int64_t columns, std::int64_t parts, std::int64_t part, const F f,
                                   typename F::Sum* partial) {
  const std::int64_t row = blockIdx.x / parts, p = blockIdx.x % parts;
  const std::int64_t begin = p * part, end = begin + part < columns ? begin + part : columns;
  const auto constants = f.of_row(row);
  auto sum = F::Sum::zero();
  const std::int64_t step = static_cast<std::int64_t>(blockDim.x) * lanes;
#pragma unroll 4
  for (std::int64_t column = begin + static_cast<std::int64_t>(threadIdx.x) * lanes; column < end;
       column += step)
    f.template add<lanes>(constants, row * columns + column, sum);
  sum = block_reduce(sum);
  if (threadIdx.x != 0) return;
  if (parts == 1)
    f.finish(row, sum);
  else
    partial[blockIdx.x] = sum;
}

/// A warp adds up the parts of one row.
template <class F>
__global__ void finish_rows_kernel(std::int64_t rows, std::int64_t parts, const F f,
                                   const typename F::Sum* partial) {
  const std::int64_t row = thread_index() / kWarp;
  if (row >= rows) return;  // whole warps leave
  auto sum = F::Sum::zero();
  for (std::int64_t p = threadIdx.x % kWarp; p < parts; p += kWarp) sum.merge(partial[row * parts + p]);
  sum = warp_reduce(sum);
  if (threadIdx.x % kWarp == 0) f.finish(row, sum);
}

/// Sums over each row of a matrix. F has a type Sum, kLanes, and on the device
///   of_row(row)            what the other two need of a row, computed once per thread;
///   add<n>(c, i, sum)      adds the elements i ... i + n - 1 to sum (i counts from the start of the matrix);
///   finish(row, sum)       is called once per row with the whole sum.
/// A long row is shared between blocks, in a way that depends on the shape alone. A row without elements
/// finishes with zero().
template <class F>
void reduce_rows(const char* name, std::int64_t rows, std::int64_t columns, const F& f, bool aligned) {
  constexpr std::int64_t kLeastPart = 1 << 13;  // elements worth a block
  constexpr std::int64_t kBlocks = 1 << 10;     // wanted, to keep a large GPU busy
  if (rows == 0) return;
  const int lanes = aligned && columns % F::kLanes == 0 ? F::kLanes : 1;
  const std::int64_t threads = ceil_div(ceil_div(columns, lanes), kWarp) * kWarp;
  const int block = static_cast<int>(threads < kWarp ? kWarp : threads < kThreads ? threads : kThreads);
  const std::int64_t wanted = ceil_div(kBlocks, rows), most = ceil_div(columns, kLeastPart);
  std::int64_t parts = wanted < most ? wanted : most;
  if (parts < 1) parts = 1;
  const std::int64_t part = ceil_div(ceil_div(columns, parts), kThreads * 16) * (kThreads * 16);
  parts = columns > 0 ? ceil_div(columns, part) : 1;  // none is left empty by the rounding

  using Sum = typename F::Sum;
  Tensor memory;  // given back when the kernels that use it are queued, which is soon enough
  Sum* partial = nullptr;
  if (parts > 1) {
    memory =
        Tensor::empty({rows * parts * static_cast<std::int64_t>(sizeof(Sum))}, DType::u8, Device::cuda());
    partial = static_cast<Sum*>(memory.raw());
  }
  const Grid grid{rows * parts, block};
  if (lanes > 1)
    launch(name, grid, reduce_rows_kernel<F::kLanes, F>, columns, parts, part, f, partial);
  else
    launch(name, grid, reduce_rows_kernel<1, F>, columns, parts, part, f, partial);
  if (parts > 1) {
    const Grid finish{ceil_div(rows * kWarp, kThreads), kThreads};
    launch(name, finish, finish_rows_kernel<F>, rows, parts, f, static_cast<const Sum*>(partial));
  }
}

/// What of_row returns for an F whose rows are all alike.
struct NoConstants {};

/// For reduce_rows: target[row] (+)= the sum of the row's elements / divisor. By default in the accumulator's
/// precision, as gradients of parameters are.
template <class T, class To = Accumulator<T>>
struct RowSums {
  using Sum = Sums<Accumulator<T>, 1>;
  static constexpr int kLanes = kVectorLanes<T>;
  const T* x;
  Target<To> target;
  Accumulator<T> divisor = 1;

  __device__ NoConstants of_row(std::int64_t) const { return {}; }
  template <int n>
  __device__ void add(NoConstants, std::int64_t i, Sum& sum) const {
    const auto values = load<n>(x + i);
    for (int k = 0; k < n; ++k) sum[0] += values[k];
  }
  __device__ void finish(std::int64_t row, const Sum& sum) const { target.put(row, sum[0] / divisor); }
};

}  // namespace replk::cuda
