// Which kernel runs on a GPU: the one asked for, or by what was measured (README.md has it).
#include "ops/depthwise_conv2d/cuda_fft_plan.h"
#include "ops/depthwise_conv2d/cuda_small_plan.h"

namespace replk::cuda {
namespace {

bool applies(DepthwiseKernel kernel, const DepthwiseConv2dGeometry& g, DType dtype) {
  switch (kernel) {
    case DepthwiseKernel::naive:
      return true;
    case DepthwiseKernel::direct:
      return direct_applies(g, dtype);
    case DepthwiseKernel::fft:
      return fft_applies(g, dtype);
    case DepthwiseKernel::tensor_core:
      return tensor_core_applies(g, dtype);
    default:
      return false;
  }
}

// The products of 5x5 and 7x7 take longer than moving the elements, and the tensor cores have a kernel of
// their own for small ones. But rows of 64 columns begin in the same bank of shared memory, and 3x3 has
// little else to do than to read.
bool better_on_tensor_cores(const DepthwiseConv2dGeometry& g, DType dtype) {
  return small_applies(g, dtype) && !(g.kernel.w == 3 && g.input.w % 64 == 0);
}

// The transforms take the same time for every kernel, but a small or thin map leaves most of the plane that
// is transformed empty. In bf16 the tensor cores are faster, but for kernels from 19x19 on 28x28, sizes that
// the FFT kernel knows when it is compiled.
bool better_by_fft(const DepthwiseConv2dGeometry& g, DType dtype) {
  const FftPlan plan(g);
  if (dtype == DType::bf16) return plan.length == 42 && plan.side() > 0;
  return 6 * g.output.area() >= std::int64_t{plan.length} * plan.length;
}

}  // namespace

DepthwiseKernel choose_depthwise_kernel(const DepthwiseConv2dGeometry& g, DType dtype) {
  using enum DepthwiseKernel;
  if (g.forced != automatic) return g.forced;
  if (const DepthwiseKernel preferred = default_depthwise_kernel(); applies(preferred, g, dtype))
    return preferred;
  const bool on_tensor_cores = applies(tensor_core, g, dtype);
  if (applies(direct, g, dtype) && !(on_tensor_cores && better_on_tensor_cores(g, dtype))) return direct;
  if (applies(fft, g, dtype) && better_by_fft(g, dtype)) return fft;
  return on_tensor_cores ? tensor_core : naive;
}

}  // namespace replk::cuda
