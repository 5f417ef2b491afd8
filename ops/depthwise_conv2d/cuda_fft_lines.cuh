// Lines of pairs of planes on their way between memory, shared memory and the registers of a thread.
#pragma once

#include "core/cuda/launch.cuh"
#include "ops/depthwise_conv2d/cuda_fft.cuh"
#include "ops/depthwise_conv2d/cuda_fft_plan.h"

namespace replk::cuda {

/// Pair `pair` of a channel, in a tensor (C, N, H, W): plane number `plane` and, unless it is alone, the one
/// behind it.
struct PlanePair {
  std::int64_t plane;
  bool alone;
  __device__ PlanePair(int channel, int pair, int batch)
      : plane(static_cast<std::int64_t>(channel) * batch + 2 * pair), alone(2 * pair + 1 == batch) {}
};

/// z = column `column` of a pair of planes of rows x width, the first as real parts and the second as
/// imaginary ones, and zeros below. Neighbouring threads read neighbouring columns.
template <int L, class T>
__device__ __forceinline__ void load_column(Complex (&z)[L], const T* __restrict__ planes, int rows,
                                            int width, int column, PlanePair pair) {
  const T* from = planes + pair.plane * (rows * width) + column;
#pragma unroll
  for (int i = 0; i < L; ++i) {
    z[i] = {i < rows ? widen(*from) : 0, 0};
    if (i < rows) from += width;
  }
  if (pair.alone) return;
#pragma unroll
  for (int i = 0; i < L; ++i) {
    if (i < rows) z[i].im = widen(*from);
    from += width;
  }
}

/// z = `count` elements of a row in shared memory, and zeros behind.
template <int L>
__device__ __forceinline__ void load_row(Complex (&z)[L], const Complex* row, int count) {
#pragma unroll
  for (int j = 0; j < L; ++j) z[j] = j < count ? row[j] : Complex{0, 0};
}

/// The first `count` elements of z to a row.
template <int L>
__device__ __forceinline__ void store_row(const Complex (&z)[L], Complex* row, int count) {
#pragma unroll
  for (int j = 0; j < L; ++j)
    if (j < count) row[j] = z[j];
}

/// Columns in shared memory: every `pitch`-th element.
template <int L>
__device__ __forceinline__ void read_column(Complex (&z)[L], const Complex* column, int pitch) {
#pragma unroll
  for (int k = 0; k < L; ++k) z[k] = column[k * pitch];
}
template <int L>
__device__ __forceinline__ void write_column(const Complex (&z)[L], Complex* column, int pitch) {
#pragma unroll
  for (int k = 0; k < L; ++k) column[k * pitch] = z[k];
}

/// Launches a kernel whose blocks need `bytes` of shared memory.
template <class Args>
void launch_fft(const char* name, void (*kernel)(Args), std::int64_t blocks, int threads, int bytes,
                const Args& args) {
  check_call(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
             "cudaFuncSetAttribute");
  launch(name, {blocks, threads, static_cast<std::size_t>(bytes)}, kernel, args);
}

}  // namespace replk::cuda
