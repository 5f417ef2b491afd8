// linear: the fully connected layer.
#pragma once

#include "core/tape.h"

namespace replk {

/// y[n, o] = sum over i of x[n, i] * weight[o, i], + bias[o]
///
/// x (N, in), weight (out, in), bias (out,) or absent; y (N, out). f32, f64. On a GPU x and y may be bf16 or
/// f16 while weight, bias and their gradients are f32: weights are rounded to the dtype of x, sums made in
/// f32. Saves x and weight (no copies, unless weights are rounded). Throws Error when a shape or dtype does
/// not fit. Source: own.
Variable linear(const Variable& x, const Variable& weight, const Variable& bias = {});

/// What the kernels see: y (rows x out) = x (rows x in) times the transpose of weight (out x in).
struct LinearGeometry {
  std::int64_t rows, in, out;
  /// `bias` may be undefined.
  static LinearGeometry of(const Tensor& x, const Tensor& weight, const Tensor& bias);
};

namespace cpu {
/// `bias` may be undefined.
void linear_forward(const LinearGeometry& g, const Tensor& x, const Tensor& weight, const Tensor& bias,
                    Tensor& y);
/// dx = dy weight
void linear_backward_input(const LinearGeometry& g, const Tensor& weight, const Tensor& dy, GradTarget dx);
/// dweight = dy^T x
void linear_backward_weight(const LinearGeometry& g, const Tensor& x, const Tensor& dy, GradTarget dweight);
/// dbias[o] = sum over n of dy[n, o]
void linear_backward_bias(const LinearGeometry& g, const Tensor& dy, GradTarget dbias);
}  // namespace cpu

namespace cuda {  // the same on the GPU, also in bf16 and f16 with bias, dweight and dbias in f32
void linear_forward(const LinearGeometry& g, const Tensor& x, const Tensor& weight, const Tensor& bias,
                    Tensor& y);
void linear_backward_input(const LinearGeometry& g, const Tensor& weight, const Tensor& dy, GradTarget dx);
void linear_backward_weight(const LinearGeometry& g, const Tensor& x, const Tensor& dy, GradTarget dweight);
void linear_backward_bias(const LinearGeometry& g, const Tensor& dy, GradTarget dbias);
}  // namespace cuda

}  // namespace replk
