// sum and mean of all elements of a tensor.
#pragma once

#include "core/tape.h"

namespace replk {

/// y = sum of all x[i]. x of any shape, f32 or f64; y a scalar, shape (). Saves nothing. Source: own.
Variable sum(const Variable& x);

/// y = sum of all x[i] / their number. x of any shape, f32 or f64; y a scalar, shape (); NaN for no elements.
/// Saves nothing. Source: own.
Variable mean(const Variable& x);

namespace cpu {
/// y = sum of x / divisor
void sum_forward(const Tensor& x, double divisor, Tensor& y);
/// dx[i] = dy / divisor
void sum_backward(const Tensor& dy, double divisor, GradTarget dx);
}  // namespace cpu

namespace cuda {  // the same on the GPU, also in bf16 and f16
void sum_forward(const Tensor& x, double divisor, Tensor& y);
void sum_backward(const Tensor& dy, double divisor, GradTarget dx);
}  // namespace cuda

}  // namespace replk
