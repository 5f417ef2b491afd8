// The matrix product on the GPU, by cuBLASLt. No autograd.
#pragma once

#include "core/tensor.h"

namespace replk::cuda {

/// Elements of a row-major matrix whose rows are `stride` elements apart; `transposed` means that what lies
/// in memory is the transpose of the matrix meant.
template <class T>
struct Matrix {
  T* data;
  std::int64_t stride;
  bool transposed = false;
};

/// c = a b, or c += a b: a is m x k, b k x n, c m x n and not transposed. Sums are made in f32 (f64 for f64),
/// with the same bits on every run; f32 factors are rounded to tf32 where core/precision.h says so. T is f32,
/// f64, bf16 or f16; C is T, or float where T is bf16 or f16. `op` is the name shown in errors.
template <class T, class C>
void gemm(const char* op, std::int64_t m, std::int64_t n, std::int64_t k, Matrix<const T> a,
          Matrix<const T> b, Matrix<C> c, bool accumulate);

}  // namespace replk::cuda
