// Launching kernels: one checked call, and how many blocks to ask for.
#pragma once

#include <cstdint>

#include "core/cuda/check.h"

namespace replk::cuda {

/// Blocks in one dimension; kernels take them apart themselves where they mean rows and pieces of rows.
struct Grid {
  std::int64_t blocks;
  int threads;
  std::size_t shared_bytes = 0;
  int cluster = 1;  // blocks that can reach each other's shared memory (instructions.cuh)
};

/// Runs kernel(args...) on the compute stream and checks the launch; `name` ("relu") is what errors call it.
/// With no blocks it does nothing.
template <class... Parameters, class... Args>
void launch(const char* name, Grid grid, void (*kernel)(Parameters...), const Args&... args) {
  if (grid.blocks == 0) return;
  check(grid.blocks <= INT32_MAX, name, ": ", grid.blocks, " blocks are more than one launch takes.");
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(grid.blocks));
  config.blockDim = dim3(static_cast<unsigned>(grid.threads));
  config.dynamicSmemBytes = grid.shared_bytes;
  config.stream = compute_stream();
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {static_cast<unsigned>(grid.cluster), 1, 1};
  if (grid.cluster > 1) config.attrs = &cluster, config.numAttrs = 1;
  cudaLaunchKernelEx(&config, kernel, args...);  // check_launch asks how it went
  check_launch(name);
}

inline constexpr int kWarp = 32;
inline constexpr int kThreads = 256;  // of a block, where nothing speaks for another number

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// A grid of one thread per item, but not more blocks than keep a large GPU busy: its kernel goes on in steps
/// of thread_count() (a grid-stride loop).
inline Grid grid_stride(std::int64_t items) {
  constexpr std::int64_t kMostBlocks = 1 << 12;
  const std::int64_t blocks = ceil_div(items, kThreads);
  return {blocks < kMostBlocks ? blocks : kMostBlocks, kThreads};
}

/// The number of this thread in the grid, and of all threads in it.
__device__ inline std::int64_t thread_index() {
  return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ inline std::int64_t thread_count() { return static_cast<std::int64_t>(gridDim.x) * blockDim.x; }

/// i = quotient * divisor + remainder, for i >= 0. In 32 bits where that is enough, which is several times
/// faster.
struct Division {
  std::int64_t quotient, remainder;
};
__device__ inline Division divide(std::int64_t i, std::int64_t divisor) {
  if (i <= UINT32_MAX && divisor <= UINT32_MAX) {
    const auto small = static_cast<std::uint32_t>(i), d = static_cast<std::uint32_t>(divisor);
    return {small / d, small % d};
  }
  return {i / divisor, i % divisor};
}

}  // namespace replk::cuda
