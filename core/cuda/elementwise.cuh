// One operation on every element of a tensor, at the speed of memory.
#pragma once

#include "core/cuda/launch.cuh"
#include "core/cuda/vector.cuh"

namespace replk::cuda {

/// Every thread takes `lanes` adjacent elements, then those that many threads further on; the first threads
/// also take what is left over at the end.
template <int lanes, class F>
__global__ void elementwise_kernel(std::int64_t count, const F f) {
  const std::int64_t vectors = count / lanes, rest = vectors * lanes;
  for (std::int64_t i = thread_index(); i < vectors; i += thread_count()) f.template run<lanes>(i * lanes);
  if constexpr (lanes > 1)
    if (thread_index() < count - rest) f.template run<1>(rest + thread_index());
}

/// Runs f.run<n>(i), which handles the elements i ... i + n - 1 by load and store, for all of [0, count):
/// with n = F::kLanes where all pointers are `aligned`, with n = 1 otherwise.
template <class F>
void elementwise(const char* name, std::int64_t count, const F& f, bool aligned) {
  if (aligned && F::kLanes > 1)
    launch(name, grid_stride(ceil_div(count, F::kLanes)), elementwise_kernel<F::kLanes, F>, count, f);
  else
    launch(name, grid_stride(count), elementwise_kernel<1, F>, count, f);
}

/// A block takes one piece of one row: `lanes` elements to a thread, kSteps times.
inline constexpr int kSteps = 4;

template <int lanes, class F>
__global__ void rowwise_kernel(std::int64_t columns, std::int64_t pieces, const F f) {
  const std::int64_t row = blockIdx.x / pieces, piece = blockIdx.x % pieces;
  const auto constants = f.of_row(row);
  const std::int64_t step = static_cast<std::int64_t>(blockDim.x) * lanes;
  std::int64_t column = piece * step * kSteps + static_cast<std::int64_t>(threadIdx.x) * lanes;
#pragma unroll
  for (int s = 0; s < kSteps; ++s, column += step)
    if (column < columns) f.template run<lanes>(constants, row * columns + column);
}

/// One operation on every element of a matrix, with constants per row: computes c = f.of_row(row) once per
/// thread and runs f.run<n>(c, i) for the elements i ... i + n - 1 of that row (i counts from the start of
/// the matrix). n is F::kLanes where pointers and rows are aligned, 1 otherwise.
template <class F>
void rowwise(const char* name, std::int64_t rows, std::int64_t columns, const F& f, bool aligned) {
  if (rows == 0 || columns == 0) return;
  const int lanes = aligned && columns % F::kLanes == 0 ? F::kLanes : 1;
  const std::int64_t threads = ceil_div(ceil_div(columns, lanes), kWarp) * kWarp;
  const int block = static_cast<int>(threads < kThreads ? threads : kThreads);
  const std::int64_t pieces = ceil_div(columns, static_cast<std::int64_t>(block) * lanes * kSteps);
  const Grid grid{rows * pieces, block};
  if (lanes > 1)
    launch(name, grid, rowwise_kernel<F::kLanes, F>, columns, pieces, f);
  else
    launch(name, grid, rowwise_kernel<1, F>, columns, pieces, f);
}

}  // namespace replk::cuda
