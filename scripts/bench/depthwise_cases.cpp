#include "scripts/bench/depthwise_cases.h"

#include "core/error.h"

namespace replk {

double taps_inside(std::int64_t extent, std::int64_t kernel, std::int64_t stride) {
  double count = 0;
  for (std::int64_t i = -(kernel / 2); i + kernel <= extent + kernel / 2; i += stride)
    for (std::int64_t t = 0; t < kernel; ++t) count += i + t >= 0 && i + t < extent;
  return count;
}

double flops_inside(const DepthwiseConv2dGeometry& g) {
  return 2.0 * static_cast<double>(g.channels * g.batch) * taps_inside(g.input.h, g.kernel.h, g.stride.h) *
         taps_inside(g.input.w, g.kernel.w, g.stride.w);
}

DepthwiseKernel kernel_named(const std::string& name) {
  using enum DepthwiseKernel;
  for (const auto kernel : {automatic, naive, direct, rows, fft, tensor_core})
    if (name == name_of(kernel)) return kernel;
  throw UsageError("automatic, naive, direct, rows, fft or tensor_core expected, got '" + name + "'.");
}

}  // namespace replk
