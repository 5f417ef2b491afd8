// Matrix products, the work horse of 1x1 convolutions and linear layers. No autograd.
#pragma once

#include <cstdint>

#include "ops/primitives/activation.h"

namespace replk::cpu {

/// An operand of a product: row-major with `stride` elements from one row to the next. `transposed` says that
/// the product uses its transpose: what is stored is then (columns x rows).
template <class T>
struct Matrix {
  T* data;
  std::int64_t stride;
  bool transposed = false;
};

/// What is done to C behind the product, a tile at a time while the cache holds it: C = activation(C + bias),
/// with one element of `bias` (which may be absent) for each row.
template <class T>
struct GemmEpilogue {
  const T* bias = nullptr;
  Activation activation = Activation::none;
  bool empty() const { return !bias && activation == Activation::none; }
};

/// C = A B, or C += A B when `accumulate`, then the epilogue: A (m x k), B (k x n), C (m x n), all row-major,
/// A and B as they are after their transposition. f32 and f64. With k = 0, C is zero (or unchanged). The
/// result does not depend on the number of threads.
void gemm(std::int64_t m, std::int64_t n, std::int64_t k, Matrix<const float> a, Matrix<const float> b,
          Matrix<float> c, bool accumulate, GemmEpilogue<float> epilogue = {});
void gemm(std::int64_t m, std::int64_t n, std::int64_t k, Matrix<const double> a, Matrix<const double> b,
          Matrix<double> c, bool accumulate, GemmEpilogue<double> epilogue = {});

/// The same through Eigen: f64 always takes this way, f32 in tests and benchmarks.
template <class T>
void gemm_eigen(std::int64_t m, std::int64_t n, std::int64_t k, Matrix<const T> a, Matrix<const T> b,
                Matrix<T> c, bool accumulate);

}  // namespace replk::cpu
