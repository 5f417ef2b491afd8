// flatten: from channel-first maps to one row of features per sample.
#pragma once

#include "core/tape.h"

namespace replk {

/// y[n, (c * H + h) * W + w] = x[c, n, h, w]
///
/// x (C, N, H, W); y (N, C*H*W), the order of PyTorch's flatten(1) of (N, C, H, W). f32, f64. Saves nothing.
/// Throws Error for another rank. Source: own.
Variable flatten(const Variable& x);

namespace cpu {
void flatten_forward(const Tensor& x, Tensor& y);
/// dx[c, n, h, w] = dy[n, (c * H + h) * W + w]
void flatten_backward(const Tensor& dy, GradTarget dx);
}  // namespace cpu

namespace cuda {  // the same on the GPU, also in bf16 and f16
void flatten_forward(const Tensor& x, Tensor& y);
void flatten_backward(const Tensor& dy, GradTarget dx);
}  // namespace cuda

}  // namespace replk
