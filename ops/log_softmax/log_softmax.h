// log_softmax: the logarithm of the class probabilities.
#pragma once

#include "core/tape.h"

namespace replk {

/// y[n, k] = x[n, k] - log sum_j exp(x[n, j])
///
/// x (N, classes), f32 or f64; y like x. Finite for logits of any finite size. Saves y (no copy). Throws
/// Error for another rank. For the loss use cross_entropy, which includes it. Source: own.
Variable log_softmax(const Variable& x);

namespace cpu {
void log_softmax_forward(const Tensor& x, Tensor& y);
/// dx[n, k] = dy[n, k] - exp(y[n, k]) * sum_j dy[n, j]
void log_softmax_backward(const Tensor& y, const Tensor& dy, GradTarget dx);
}  // namespace cpu

namespace cuda {  // the same on the GPU, also in bf16 and f16
void log_softmax_forward(const Tensor& x, Tensor& y);
void log_softmax_backward(const Tensor& y, const Tensor& dy, GradTarget dx);
}  // namespace cuda

}  // namespace replk
