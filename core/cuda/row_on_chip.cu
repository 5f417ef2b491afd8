#include "core/cuda/row_on_chip.cuh"

#include <algorithm>

namespace replk::cuda {
namespace {

__global__ void nothing() {}

struct Chip {
  int most_blocks;            // of a cluster
  std::int64_t most_vectors;  // that a block holds
};

// Whether clusters of more than 8 blocks, which only some GPUs have, find their place on half of this one.
bool has_large_clusters(const cudaDeviceProp& gpu) {
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {kMostBlocksPerRow, 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(kMostBlocksPerRow);
  config.blockDim = dim3(kMostThreadsOnChip);
  config.dynamicSmemBytes = gpu.sharedMemPerBlockOptin;
  config.attrs = &cluster, config.numAttrs = 1;
  const auto bytes = static_cast<int>(gpu.sharedMemPerBlockOptin);
  check_call(cudaFuncSetAttribute(nothing, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
             "cudaFuncSetAttribute");
  check_call(cudaFuncSetAttribute(nothing, cudaFuncAttributeNonPortableClusterSizeAllowed, 1),
             "cudaFuncSetAttribute");
  int clusters = 0;
  if (cudaOccupancyMaxActiveClusters(&clusters, nothing, &config) != cudaSuccess) cudaGetLastError();
  return clusters * kMostBlocksPerRow >= gpu.multiProcessorCount / 2;
}

const Chip& chip() {
  static const Chip only = [] {
    cudaDeviceProp gpu{};
    check_call(cudaGetDeviceProperties(&gpu, 0), "cudaGetDeviceProperties");
    cudaFuncAttributes code{};  // for what the code is that runs here: clusters take more than the GPU
    check_call(cudaFuncGetAttributes(&code, nothing), "cudaFuncGetAttributes");
    const int blocks = code.ptxVersion < 90 ? 1 : has_large_clusters(gpu) ? kMostBlocksPerRow : 8;
    return Chip{blocks, (static_cast<std::int64_t>(gpu.sharedMemPerBlockOptin) - kRowStateBytes) / 16};
  }();
  return only;
}

}  // namespace

// Blocks: the fewest of which two find their place on a multiprocessor, so that one reads while the other
// writes; a barrier of a cluster takes about a microsecond.
// Threads: as many as keep the registers of all blocks that have their place within those of a
// multiprocessor; not so few, though, that a thread has more than two batches of vectors.
RowShare share_row(std::int64_t rows, std::int64_t vectors, int inputs, int blocks) {
  // Of a large GPU: the numbers must not depend on the one that runs, or sums would.
  constexpr std::int64_t kMultiprocessors = 132, kThreadsOfOne = 1024, kBytesOfOne = 227 << 10;
  const Chip& limits = chip();
  const auto part = [&](int count) { return ceil_div(vectors, count); };
  const auto bytes = [&](int count) { return part(count) * inputs * 16 + kRowStateBytes; };
  if (blocks == 0)
    for (blocks = 1; blocks < limits.most_blocks && bytes(blocks) > kBytesOfOne / 2; blocks *= 2) {
    }
  if (blocks > limits.most_blocks || part(blocks) * inputs > limits.most_vectors) return {};
  const std::int64_t places = kBytesOfOne / bytes(blocks), wanted = ceil_div(rows * blocks, kMultiprocessors);
  const std::int64_t beside = std::clamp<std::int64_t>(wanted, 1, places);
  const std::int64_t least = std::min<std::int64_t>(ceil_div(part(blocks), 4), 224);
  const std::int64_t threads = std::clamp<std::int64_t>(kThreadsOfOne / beside, least, kMostThreadsOnChip);
  const std::int64_t steps = ceil_div(part(blocks), threads);
  const std::int64_t warps = ceil_div(ceil_div(part(blocks), steps), kWarp);
  return {blocks, static_cast<int>(warps) * kWarp, static_cast<int>(part(blocks))};
}

}  // namespace replk::cuda
