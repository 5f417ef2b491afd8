// max_pool2d: the largest value of each window of a map.
#pragma once

#include "core/tape.h"
#include "ops/primitives/pooling.h"

namespace replk {

/// y[c, n, ho, wo] = max of x[c, n, h, w] over the kernel at (ho * stride - padding, wo * stride - padding)
///
/// x (C, N, H, W); y (C, N, Ho, Wo), Ho = floor((H + 2 padding - kernel) / stride) + 1. f32, f64. Padding
/// never wins. NaN wins over everything; of equal values the first in the order of rows gets the gradient, of
/// several NaN the last (as in PyTorch). Saves the place of each maximum, an i64 per output.
/// Throws Error for a padding above half the kernel or a kernel that does not fit. Source: own.
Variable max_pool2d(const Variable& x, const Pool2dParams& params);

namespace cpu {
/// `places` i64 like y: the index of the maximum within its plane.
void max_pool2d_forward(const Pool2dGeometry& g, const Tensor& x, Tensor& y, Tensor& places);
/// dx[c, n, h, w] = sum of dy[c, n, ho, wo] over the windows whose maximum is at (h, w)
void max_pool2d_backward(const Pool2dGeometry& g, const Tensor& places, const Tensor& dy, GradTarget dx);
}  // namespace cpu

namespace cuda {  // the same on the GPU, also in bf16 and f16
void max_pool2d_forward(const Pool2dGeometry& g, const Tensor& x, Tensor& y, Tensor& places);
void max_pool2d_backward(const Pool2dGeometry& g, const Tensor& places, const Tensor& dy, GradTarget dx);
}  // namespace cuda

}  // namespace replk
