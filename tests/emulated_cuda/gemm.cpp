// The matrix product on the emulated GPU, in place of cuBLASLt.
#include <algorithm>

#include "core/precision.h"
#include "ops/primitives/gemm_cuda.h"
#include "tests/emulated_cuda/core/cuda/instructions.cuh"
#include "tests/emulated_cuda/memory.h"

namespace replk::cuda {
namespace {

template <class T>
auto value_of(T x) {
  if constexpr (std::is_same_v<T, double>)
    return x;
  else if constexpr (std::is_same_v<T, float>)
    return precision() == Precision::tf32 ? std::bit_cast<float>(round_to_tf32(x)) : x;
  else
    return static_cast<float>(x);
}

}  // namespace

template <class T, class C>
void gemm(const char*, std::int64_t m, std::int64_t n, std::int64_t k, Matrix<const T> a, Matrix<const T> b,
          Matrix<C> c, bool accumulate) {
  const auto at = [](const Matrix<const T>& matrix, std::int64_t i, std::int64_t j) {
    return value_of(matrix.data[matrix.transposed ? j * matrix.stride + i : i * matrix.stride + j]);
  };
  emulated::run_or_record([=] {
    const emulated::DeviceAccess access;
    for (std::int64_t i = 0; i < m; ++i)
      for (std::int64_t j = 0; j < n; ++j) {
        decltype(value_of(T{})) sum = 0;
        for (std::int64_t l = 0; l < k; ++l) sum += at(a, i, l) * at(b, l, j);
        C& target = c.data[i * c.stride + j];
        if (accumulate) sum += static_cast<decltype(sum)>(target);
        target = C(sum);
      }
  });
}

#define REPLK_GEMM(T, C)                                                                     \
  template void gemm(const char*, std::int64_t, std::int64_t, std::int64_t, Matrix<const T>, \
                     Matrix<const T>, Matrix<C>, bool)
REPLK_GEMM(float, float);
REPLK_GEMM(double, double);
REPLK_GEMM(bf16, bf16);
REPLK_GEMM(f16, f16);
REPLK_GEMM(bf16, float);
REPLK_GEMM(f16, float);
#undef REPLK_GEMM

}  // namespace replk::cuda
