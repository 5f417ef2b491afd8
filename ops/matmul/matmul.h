// matmul: the product of two matrices.
#pragma once

#include "core/tape.h"

namespace replk {

/// y[i, j] = sum over l of a[i, l] * b[l, j]
///
/// a (m, k), b (k, n); y (m, n). f32, f64.
/// Saves a and b (no copies). Throws Error when a shape or dtype does not fit.
/// Source: own.
Variable matmul(const Variable& a, const Variable& b);

/// What the kernels see: y (m x n) = a (m x k) b (k x n).
struct MatmulGeometry {
  std::int64_t m, n, k;
  static MatmulGeometry of(const Tensor& a, const Tensor& b);
};

namespace cpu {
void matmul_forward(const MatmulGeometry& g, const Tensor& a, const Tensor& b, Tensor& y);
/// da = dy b^T
void matmul_backward_a(const MatmulGeometry& g, const Tensor& b, const Tensor& dy, GradTarget da);
/// db = a^T dy
void matmul_backward_b(const MatmulGeometry& g, const Tensor& a, const Tensor& dy, GradTarget db);
}  // namespace cpu

namespace cuda {  // the same on the GPU, also in bf16 and f16
void matmul_forward(const MatmulGeometry& g, const Tensor& a, const Tensor& b, Tensor& y);
void matmul_backward_a(const MatmulGeometry& g, const Tensor& b, const Tensor& dy, GradTarget da);
void matmul_backward_b(const MatmulGeometry& g, const Tensor& a, const Tensor& dy, GradTarget db);
}  // namespace cuda

}  // namespace replk
