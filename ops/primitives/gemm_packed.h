// The packed f32 product: what gemm.cpp hands to the kernels of gemm_packed.cpp.
#pragma once

#include "ops/primitives/gemm.h"

namespace replk::cpu {

/// The part of a product that one task computes: C (rows x columns) = or += A B over `depth` products. The
/// pointers are those of its corners.
struct GemmBlock {
  std::int64_t rows, columns, depth;
  Matrix<const float> a, b;
  Matrix<float> c;
  bool accumulate;
  GemmEpilogue<float> epilogue;  // its bias is that of the first row
};

/// Products that are summed in registers before C is touched; A and B are packed in pieces of that depth.
inline constexpr std::int64_t kGemmDepth = 256;

/// Computes a block on the calling thread with the widest vectors this processor has.
void gemm_packed_block(const GemmBlock& block);

/// The epilogue alone, on the calling thread, where C is complete only after the product.
void gemm_finish(std::int64_t rows, std::int64_t columns, Matrix<float> c, GemmEpilogue<float> epilogue);
void gemm_finish(std::int64_t rows, std::int64_t columns, Matrix<double> c, GemmEpilogue<double> epilogue);

}  // namespace replk::cpu
