// Activations: relu, relu6, gelu and sigmoid, one function of each element.
#pragma once

#include "core/tape.h"
#include "ops/primitives/activation.h"

namespace replk {

/// y = max(x, 0), and NaN stays NaN.
///
/// x, y of any shape, f32 or f64. Saves y, which the next operator usually keeps anyway. The gradient at 0 is
/// 0. Throws Error for other dtypes. Source: own.
Variable relu(const Variable& x);

/// y = min(max(x, 0), 6), and NaN stays NaN.
///
/// x, y of any shape, f32 or f64. Saves y. The gradient at 0 and at 6 is 0. Throws Error for other dtypes.
/// Source: MobileNet, Howard et al. 2017.
Variable relu6(const Variable& x);

/// y = x Phi(x) = x (1 + erf(x / sqrt(2))) / 2, the exact form rather than the tanh approximation.
///
/// x, y of any shape, f32 or f64. Saves x. gelu(inf) = inf, gelu(-inf) = 0; NaN stays NaN. Throws Error for
/// other dtypes. Source: Hendrycks and Gimpel 2016.
Variable gelu(const Variable& x);

/// y = 1 / (1 + exp(-x))
///
/// x, y of any shape, f32 or f64. Saves y. NaN stays NaN. Throws Error for other dtypes. Source: own.
Variable sigmoid(const Variable& x);

/// relu(x) or gelu(x); x itself for Activation::none.
Variable activate(const Variable& x, Activation activation);

namespace cpu {
void relu_forward(const Tensor& x, Tensor& y);
/// dx = dy where y > 0, else 0
void relu_backward(const Tensor& y, const Tensor& dy, GradTarget dx);
void relu6_forward(const Tensor& x, Tensor& y);
/// dx = dy where 0 < y < 6, else 0
void relu6_backward(const Tensor& y, const Tensor& dy, GradTarget dx);
void gelu_forward(const Tensor& x, Tensor& y);
/// dx = dy (Phi(x) + x phi(x)), phi(x) = exp(-x^2 / 2) / sqrt(2 pi)
void gelu_backward(const Tensor& x, const Tensor& dy, GradTarget dx);
void sigmoid_forward(const Tensor& x, Tensor& y);
/// dx = dy y (1 - y)
void sigmoid_backward(const Tensor& y, const Tensor& dy, GradTarget dx);
}  // namespace cpu

namespace cuda {  // the same on the GPU, also in bf16 and f16
void relu_forward(const Tensor& x, Tensor& y);
void relu_backward(const Tensor& y, const Tensor& dy, GradTarget dx);
void relu6_forward(const Tensor& x, Tensor& y);
void relu6_backward(const Tensor& y, const Tensor& dy, GradTarget dx);
void gelu_forward(const Tensor& x, Tensor& y);
void gelu_backward(const Tensor& x, const Tensor& dy, GradTarget dx);
void sigmoid_forward(const Tensor& x, Tensor& y);
void sigmoid_backward(const Tensor& y, const Tensor& dy, GradTarget dx);
}  // namespace cuda

}  // namespace replk
