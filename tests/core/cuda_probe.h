// Kernels that show what the helpers of core/cuda do. Defined only in a build with CUDA.
#pragma once

#include "core/tensor.h"

namespace replk::test {

/// words (n, 4) as i64: philox(seed, stream, i) for i in [0, n), computed on the GPU.
Tensor philox_on_cuda(std::uint64_t seed, std::uint64_t stream, std::int64_t n);

/// Per row of x (rows, columns; any floating dtype, on the GPU) the sum of x and of x^2, (rows, 2) in f64.
Tensor row_sums_on_cuda(const Tensor& x);

/// x[i] * factor[row] through rowwise(), like x.
Tensor scaled_rows_on_cuda(const Tensor& x, const Tensor& factor);

/// Launches a kernel named "planted fault" that writes to an address that does not exist.
void fault_on_cuda();

}  // namespace replk::test
