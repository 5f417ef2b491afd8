// Checked CUDA calls, and the two streams. For code that includes CUDA's own headers: core/cuda and .cu
// files.
#pragma once

#include <cuda_runtime_api.h>

#include "core/error.h"

namespace replk::cuda {

/// Throws Error naming `call`, what CUDA says of `status` and what to do about it, unless it is a success:
/// check_call(cudaEventRecord(event, stream), "cudaEventRecord").
void check_call(cudaError_t status, const char* call);

/// To be called right after a launch. With REPLK_SYNC=1 in the environment it waits for the kernel, so that
/// a fault is reported with the name of the kernel at fault instead of by whatever is called next.
void check_launch(const char* kernel);

/// On which every kernel runs and in whose order memory is handed out. The GPU is chosen on first use: the
/// first one visible (CUDA_VISIBLE_DEVICES says which those are). Throws Error when there is none.
cudaStream_t compute_stream();
/// For copies from the host that run beside kernels (Upload).
cudaStream_t copy_stream();

}  // namespace replk::cuda
