// Sums over each row of a matrix, then one operation on every element with constants that depend on these
// sums (normalisations), with every element read from memory once: the row waits on the chip in between.
#pragma once

#include "core/cuda/launch.cuh"
#include "core/cuda/reduce.cuh"
#include "core/cuda/vector.cuh"

namespace replk::cuda {

inline constexpr int kMostBlocksPerRow = 16, kMostThreadsOnChip = 512;

/// How a row is shared: `blocks` blocks, a cluster, of `threads` threads hold `vectors` vectors of each input
/// of the row, the last ones less.
struct RowShare {
  int blocks = 0;  // 0: a row does not fit, or its vectors are not aligned
  int threads = 0, vectors = 0;
};

/// Of rows of `vectors` x 16 bytes in each of `inputs` tensors. Depends on the shape and on what the GPU can
/// do. `blocks` (1, 2, 4, 8 or 16) asks for that many; 0 leaves the choice to what was measured.
RowShare share_row(std::int64_t rows, std::int64_t vectors, int inputs, int blocks = 0);

/// Of a block's shared memory, for RowState; the rest holds vectors.
inline constexpr std::int64_t kRowStateBytes = 1 << 10;

/// What the threads of a block tell each other; `sums` is written by all blocks of the cluster.
template <class F>
struct alignas(16) RowState {
  typename F::Sum sums[kMostBlocksPerRow];
  typename F::Result result;
};

/// The sum over the blocks of a cluster of what their threads 0 give, in thread 0 of each, with the same
/// bits. A block writes its sum to all others. Every thread has called cluster_arrive before.
template <class S>
__device__ S cluster_reduce(S sum, S* sums) {
  cluster_wait();  // every block has started
  const unsigned blocks = cluster_size();
  if (threadIdx.x < kWarp) {
    if (threadIdx.x == 0)
      for (unsigned block = 0; block < blocks; ++block) store_in_block(sums + cluster_rank(), block, sum);
    __syncwarp();
    cluster_arrive();
  } else {
    cluster_arrive_relaxed();
  }
  cluster_wait();  // every block has written, and none will again: each may return when it likes
  sum = sums[0];
  for (unsigned block = 1; block < blocks; ++block) sum.merge(sums[block]);
  return sum;
}

/// 16 bytes into shared memory.
template <class T, int n>
__device__ void hold(T* shared, const Lanes<T, n>& vector) {
  static_assert(sizeof(vector) == sizeof(uint4));
  uint4 bits;
  memcpy(&bits, &vector, sizeof(bits));
  *reinterpret_cast<uint4*>(shared) = bits;
}

/// A cluster of blocks takes a row, a block `share` adjacent vectors of it and a thread every blockDim.x-th
/// of these: it loads them a batch at a time (kBatch x 16 bytes of every input under way), adds them to its
/// sum and puts them into shared memory, where it finds them again when the sum of the row is known. Nobody
/// else reads them, so the only barriers are those of the sum. Shared memory: RowState, then `share` vectors
/// of each input.
template <class F>
__global__ void __launch_bounds__(kMostThreadsOnChip, 2)
    row_on_chip_kernel(std::int64_t columns, int share, const F f) {
  using Vector = Lanes<typename F::Element, F::kLanes>;
  constexpr int kBatch = 4;
  auto& state = *reinterpret_cast<RowState<F>*>(dynamic_shared());
  auto* held = reinterpret_cast<typename F::Element*>(dynamic_shared() + sizeof(state));
  const unsigned blocks = cluster_size();
  if (blocks > 1) cluster_arrive_relaxed();  // cluster_reduce waits
  const std::int64_t row = blockIdx.x / blocks;
  const int begin = static_cast<int>(cluster_rank()) * share,
            rest = static_cast<int>(columns / F::kLanes) - begin;
  const int count = rest < share ? rest : share, step = static_cast<int>(blockDim.x);
  const std::int64_t start = row * columns + static_cast<std::int64_t>(begin) * F::kLanes;

  Vector batch[kBatch][F::kInputs];
  const auto read = [&](int v) {
#pragma unroll
    for (int b = 0; b < kBatch; ++b)
      if (v + b * step < count) f.read(start + static_cast<std::int64_t>(v + b * step) * F::kLanes, batch[b]);
  };
  int v = static_cast<int>(threadIdx.x);
  read(v);  // before of_row, which waits for memory too
  const auto constants = f.of_row(row);
  auto sum = F::Sum::zero();
  while (v < count) {
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      if (v + b * step >= count) break;
      f.add(constants, batch[b], sum);
      for (int k = 0; k < F::kInputs; ++k) hold(held + (k * share + v + b * step) * F::kLanes, batch[b][k]);
    }
    v += kBatch * step;
    read(v);
  }

  sum = block_reduce(sum);
  if (blocks > 1) sum = cluster_reduce(sum, state.sums);
  if (threadIdx.x == 0) state.result = f.of_sum(constants, sum);
  __syncthreads();
  const typename F::Result result = state.result;
  if (threadIdx.x == 0 && cluster_rank() == 0) f.keep(row, result, sum);
  for (v = static_cast<int>(threadIdx.x); v < count; v += kBatch * step) {
#pragma unroll
    for (int b = 0; b < kBatch; ++b)
      if (v + b * step < count)
        for (int k = 0; k < F::kInputs; ++k)
          batch[b][k] = load_raw<F::kLanes>(held + (k * share + v + b * step) * F::kLanes);
#pragma unroll
    for (int b = 0; b < kBatch; ++b)
      if (v + b * step < count)
        f.put(result, start + static_cast<std::int64_t>(v + b * step) * F::kLanes, batch[b]);
  }
}

/// Runs F on the rows of a matrix of aligned vectors; `share` is that of share_row. F has types Element, Sum
/// (see reduce.cuh) and Result, numbers kInputs and kLanes (of Element in 16 bytes), and on the device, for
/// `vectors` (one of each input) that start with element i of the matrix:
///   read(i, vectors)              loads them;
///   of_row(row)                   constants for `add`, computed by every thread, all of a warp together;
///   add(constants, vectors, sum)  adds them to sum; may change what is kept of them;
///   of_sum(constants, sum)        the Result: what `put` needs of the whole sum;
///   keep(row, result, sum)        is called once per row, and writes what is kept of it;
///   put(result, i, vectors)       the operation.
template <class F>
void row_on_chip(const char* name, std::int64_t rows, std::int64_t columns, const RowShare& share,
                 const F& f) {
  const std::size_t bytes =
      sizeof(RowState<F>) + std::size_t{16} * F::kInputs * static_cast<std::size_t>(share.vectors);
  const auto kernel = row_on_chip_kernel<F>;
  check_call(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
      "cudaFuncSetAttribute");
  if (share.blocks > 8)
    check_call(cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1),
               "cudaFuncSetAttribute");
  launch(name, {rows * share.blocks, share.threads, bytes, share.blocks}, kernel, columns, share.vectors, f);
}

}  // namespace replk::cuda
