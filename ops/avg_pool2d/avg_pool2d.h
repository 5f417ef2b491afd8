// avg_pool2d and adaptive_avg_pool2d: means over windows of a map.
#pragma once

#include "core/tape.h"
#include "ops/primitives/pooling.h"

namespace replk {

/// y[c, n, ho, wo] = (sum of x[c, n, h, w] over the kernel at (ho * stride - padding, wo * stride - padding))
///                   / (kernel_size.h * kernel_size.w)
///
/// x (C, N, H, W); y (C, N, Ho, Wo), Ho = floor((H + 2 padding - kernel) / stride) + 1. f32, f64. Padding
/// counts as zeros, also in the divisor (PyTorch's default, count_include_pad). Saves nothing.
/// Throws Error for a padding above half the kernel or a kernel that does not fit. Source: own.
Variable avg_pool2d(const Variable& x, const Pool2dParams& params);

/// y[c, n, ho, wo] = mean of x[c, n, h, w] over h in [floor(ho H / Ho), ceil((ho + 1) H / Ho)), w alike
///
/// x (C, N, H, W); y (C, N, output_size.h, output_size.w), which may be larger than x. f32, f64. With
/// output_size 1 it is the global average pool before the classifier. Saves nothing. Source: own.
Variable adaptive_avg_pool2d(const Variable& x, Extent2d output_size);

namespace cpu {
void avg_pool2d_forward(const Pool2dGeometry& g, const Tensor& x, Tensor& y);
/// dx[c, n, h, w] = sum over the windows that hold (h, w) of dy[c, n, ho, wo] / divisor
void avg_pool2d_backward(const Pool2dGeometry& g, const Tensor& dy, GradTarget dx);
}  // namespace cpu

namespace cuda {  // the same on the GPU, also in bf16 and f16
void avg_pool2d_forward(const Pool2dGeometry& g, const Tensor& x, Tensor& y);
void avg_pool2d_backward(const Pool2dGeometry& g, const Tensor& dy, GradTarget dx);
}  // namespace cuda

}  // namespace replk
