#include "ops/primitives/gemm.h"

#include <Eigen/Core>

#include "core/parallel.h"

namespace replk::cpu {
namespace {

template <class T>
using RowMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class T>
using ConstMap = Eigen::Map<const RowMajor<T>, 0, Eigen::OuterStride<>>;
template <class T>
using Map = Eigen::Map<RowMajor<T>, 0, Eigen::OuterStride<>>;

}  // namespace

template <class T>
void gemm_eigen(std::int64_t m, std::int64_t n, std::int64_t k, Matrix<const T> a, Matrix<const T> b,
                Matrix<T> c, bool accumulate) {
  const auto product = [&](std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns) {
    const ConstMap<T> left(a.data + (a.transposed ? row : row * a.stride), a.transposed ? k : rows,
                           a.transposed ? rows : k, Eigen::OuterStride<>(a.stride));
    const ConstMap<T> right(b.data + (b.transposed ? column * b.stride : column), b.transposed ? columns : k,
                            b.transposed ? k : columns, Eigen::OuterStride<>(b.stride));
    Map<T> out(c.data + row * c.stride + column, rows, columns, Eigen::OuterStride<>(c.stride));
    if (!accumulate) out.setZero();
    if (k == 0) return;
    if (a.transposed && b.transposed)
      out.noalias() += left.transpose() * right.transpose();
    else if (a.transposed)
      out.noalias() += left.transpose() * right;
    else if (b.transposed)
      out.noalias() += left * right.transpose();
    else
      out.noalias() += left * right;
  };
  // Fixed tiles, so that the bits do not depend on the number of threads.
  const std::int64_t tile_m = m >= n ? std::max<std::int64_t>(64, (m + 7) / 8) : m;
  const std::int64_t tile_n = m >= n ? n : std::max<std::int64_t>(64, (n + 7) / 8);
  const std::int64_t tiles_m = (m + tile_m - 1) / std::max<std::int64_t>(tile_m, 1);
  const std::int64_t tiles_n = (n + tile_n - 1) / std::max<std::int64_t>(tile_n, 1);
  parallel_for_each(tiles_m * tiles_n, [&](std::int64_t tile) {
    const std::int64_t row = tile / tiles_n * tile_m, column = tile % tiles_n * tile_n;
    product(row, std::min(tile_m, m - row), column, std::min(tile_n, n - column));
  });
}

template void gemm_eigen(std::int64_t, std::int64_t, std::int64_t, Matrix<const float>, Matrix<const float>,
                         Matrix<float>, bool);
template void gemm_eigen(std::int64_t, std::int64_t, std::int64_t, Matrix<const double>, Matrix<const double>,
                         Matrix<double>, bool);

}  // namespace replk::cpu
