#include "ops/depthwise_conv2d/cuda_fft_plan.h"

#include <algorithm>

#include "ops/depthwise_conv2d/cuda_types.h"
#include "ops/depthwise_conv2d/fft_length.h"

namespace replk::cuda {
namespace {

// Along the longer axis. What wraps around lands in outputs that nobody keeps.
std::int64_t points(const DepthwiseConv2dGeometry& g) {
  using cpu::FftShape;
  return std::max(FftShape::points(g.input.h, g.output.h, g.kernel.h, g.padding.h),
                  FftShape::points(g.input.w, g.output.w, g.kernel.w, g.padding.w));
}

}  // namespace

bool fft_applies(const DepthwiseConv2dGeometry& g, DType dtype) {
  constexpr std::int64_t kMost = 1 << 24, kMostPlanes = 1 << 30;  // keep counts in 32 bits
  return is_f32_or_bf16(dtype) && g.stride == Extent2d(1) && g.dilation == Extent2d(1) && g.channels > 0 &&
         g.batch > 0 && g.channels <= kMost && g.batch <= kMost && g.channels * g.batch <= kMostPlanes &&
         points(g) <= *std::rbegin(FftPlan::kLengths);
}

FftPlan::FftPlan(const DepthwiseConv2dGeometry& g)
    : length(*std::lower_bound(std::begin(kLengths), std::end(kLengths), points(g))),
      channels(static_cast<int>(g.channels)),
      batch(static_cast<int>(g.batch)),
      pairs((batch + 1) / 2),
      kernel_h(static_cast<int>(g.kernel.h)),
      kernel_w(static_cast<int>(g.kernel.w)),
      padding_h(static_cast<int>(g.padding.h)),
      padding_w(static_cast<int>(g.padding.w)),
      sizes{static_cast<int>(g.input.h), static_cast<int>(g.input.w), static_cast<int>(g.output.h),
            static_cast<int>(g.output.w)} {}

int FftPlan::parts() const {
  constexpr int kMultiprocessors = 132;  // of a large GPU, to be busy with all channels once
  int most = 0;
  with_fft(*this, [&]<int L>(std::integral_constant<int, L>, auto) {
    most = kMultiprocessors * ProductBlock<L>::kBlocks * ProductBlock<L>::kPairs;
  });
  return std::clamp(most / channels, 1, pairs);
}

}  // namespace replk::cuda
