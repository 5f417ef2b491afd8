#include "ops/primitives/gemm.h"

#include <algorithm>

#include "core/parallel.h"
#include "core/tensor.h"
#include "ops/primitives/gemm_packed.h"

namespace replk::cpu {
namespace {

constexpr double kTasks = 16;                 // wanted at least, where the product is large enough
constexpr double kProductsPerTask = 1 << 18;  // less is not worth a task
constexpr std::int64_t kMaxRows = 384, kMaxColumns = 3072;  // of a block
constexpr std::int64_t kMinRows = 128, kMinColumns = 192;
constexpr std::int64_t kMinDepth = 1024;     // of a part
constexpr std::int64_t kSumGrain = 1 << 14;  // elements moved or added that are worth a thread

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// `extent` in equal parts, multiples of `unit`: `wanted` of them if that keeps them between the smallest and
// the largest size. Returns the size of a part.
std::int64_t part_size(std::int64_t extent, std::int64_t wanted, std::int64_t smallest, std::int64_t largest,
                       std::int64_t unit) {
  const std::int64_t count =
      std::max({std::min(wanted, extent / smallest), ceil_div(extent, largest), std::int64_t{1}});
  return ceil_div(ceil_div(extent, count), unit) * unit;
}

// How a product is cut into tasks: by its shape alone, so that no bit depends on the number of threads.
struct Plan {
  std::int64_t rows, columns, depth;  // of a block
  std::int64_t tiles_m, tiles_n, parts;

  Plan(std::int64_t m, std::int64_t n, std::int64_t k) {
    const double products = static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
    const auto wanted = static_cast<std::int64_t>(std::clamp(products / kProductsPerTask, 1.0, kTasks));
    const std::int64_t most_columns = kMaxColumns;
    // First along the depth, where there is plenty: it packs nothing twice and costs only the sum of the
    // parts.
    const std::int64_t blocks = ceil_div(m, kMaxRows) * ceil_div(n, most_columns);
    depth = part_size(k, ceil_div(wanted, blocks), kMinDepth, k, kGemmDepth);
    parts = ceil_div(k, depth);
    columns = part_size(n, ceil_div(wanted, parts * ceil_div(m, kMaxRows)), kMinColumns, most_columns, 48);
    tiles_n = ceil_div(n, columns);
    rows = part_size(m, ceil_div(wanted, parts * tiles_n), kMinRows, kMaxRows, 8);
    tiles_m = ceil_div(m, rows);
  }
};

template <class T>
Matrix<T> corner(Matrix<T> x, std::int64_t row, std::int64_t column) {
  if (x.transposed) std::swap(row, column);
  return {x.data + row * x.stride + column, x.stride, x.transposed};
}

template <class T>
GemmEpilogue<T> from_row(GemmEpilogue<T> epilogue, std::int64_t row) {
  if (epilogue.bias) epilogue.bias += row;
  return epilogue;
}

void set_zero(std::int64_t m, std::int64_t n, Matrix<float> c) {
  for (std::int64_t i = 0; i < m; ++i) std::fill_n(c.data + i * c.stride, n, 0.0f);
}

// With the depth along the rows of both operands (dW = dY X^T) B is transposed while it is packed, and A is
// not packed at all: the one with fewer rows had better be B. For the depth from which on turning C round
// costs nothing beside the product.
bool better_transposed(std::int64_t m, std::int64_t n, std::int64_t k, bool a_transposed, bool b_transposed) {
  return !a_transposed && b_transposed && m < n && k >= kMinDepth;
}

}  // namespace

void gemm(std::int64_t m, std::int64_t n, std::int64_t k, Matrix<const float> a, Matrix<const float> b,
          Matrix<float> c, bool accumulate, GemmEpilogue<float> epilogue) {
  if (m == 0 || n == 0) return;
  if (epilogue.empty() && better_transposed(m, n, k, a.transposed, b.transposed)) {  // C^T = B^T A^T
    Tensor turned = Tensor::empty({n, m});
    float* from = turned.data<float>();
    gemm(n, m, k, {b.data, b.stride}, {a.data, a.stride, true}, {from, m}, false);
    parallel_for(m, kSumGrain / n + 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i)
        for (std::int64_t j = 0; j < n; ++j) {
          float& to = c.data[i * c.stride + j];
          to = accumulate ? to + from[j * m + i] : from[j * m + i];
        }
    });
    return;
  }
  if (k == 0) {
    if (!accumulate) set_zero(m, n, c);
    return gemm_finish(m, n, c, epilogue);
  }
  const Plan plan(m, n, k);
  const std::int64_t tiles = plan.tiles_m * plan.tiles_n;
  // The first part goes to C itself, the others to memory of their own, added in order afterwards.
  Tensor partials = Tensor::empty({(plan.parts - 1) * m * n});
  float* partial = partials.data<float>();
  parallel_for_each(tiles * plan.parts, [&](std::int64_t task) {
    const std::int64_t part = task / tiles, tile = task % tiles;
    const std::int64_t row = tile % plan.tiles_m * plan.rows, column = tile / plan.tiles_m * plan.columns;
    const std::int64_t begin = part * plan.depth;
    const Matrix<float> to = part == 0 ? c : Matrix<float>{partial + (part - 1) * m * n, n};
    gemm_packed_block({std::min(plan.rows, m - row), std::min(plan.columns, n - column),
                       std::min(plan.depth, k - begin), corner(a, row, begin), corner(b, begin, column),
                       corner(to, row, column), accumulate && part == 0,
                       plan.parts == 1 ? from_row(epilogue, row) : GemmEpilogue<float>{}});
  });
  if (plan.parts == 1) return;
  parallel_for(m, kSumGrain / (n * plan.parts) + 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      for (std::int64_t part = 1; part < plan.parts; ++part) {
        const float* from = partial + ((part - 1) * m + i) * n;
        float* to = c.data + i * c.stride;
        for (std::int64_t j = 0; j < n; ++j) to[j] += from[j];
      }
      if (!epilogue.empty()) gemm_finish(1, n, corner(c, i, 0), from_row(epilogue, i));
    }
  });
}

void gemm(std::int64_t m, std::int64_t n, std::int64_t k, Matrix<const double> a, Matrix<const double> b,
          Matrix<double> c, bool accumulate, GemmEpilogue<double> epilogue) {
  gemm_eigen<double>(m, n, k, a, b, c, accumulate);
  if (epilogue.empty()) return;
  parallel_for(m, kSumGrain / (n + 1) + 1, [&](std::int64_t begin, std::int64_t end) {
    gemm_finish(end - begin, n, corner(c, begin, 0), from_row(epilogue, begin));
  });
}

}  // namespace replk::cpu
