#include "ops/primitives/gemm.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "core/parallel.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"
#include "tests/support/instruction_sets.h"

using namespace replk;
using namespace replk::test;

namespace {

constexpr std::int64_t kGap = 3;  // elements between the rows of every operand, which nobody may touch

struct Sizes {
  std::int64_t m, n, k;
};

template <class T>
using Gemm = void (*)(std::int64_t, std::int64_t, std::int64_t, cpu::Matrix<const T>, cpu::Matrix<const T>,
                      cpu::Matrix<T>, bool);

// The product alone; conv2d's tests have the epilogue.
template <class T>
void plain(std::int64_t m, std::int64_t n, std::int64_t k, cpu::Matrix<const T> a, cpu::Matrix<const T> b,
           cpu::Matrix<T> c, bool accumulate) {
  cpu::gemm(m, n, k, a, b, c, accumulate);
}

// A matrix of random values, and how it is stored: its rows (or those of its transpose) lie kGap further
// apart than they are long.
template <class T>
struct Operand {
  std::int64_t rows, columns;
  Tensor values;

  Operand(std::int64_t rows_, std::int64_t columns_, std::uint64_t seed)
      : rows(rows_), columns(columns_), values(random_tensor({rows, columns}, seed, -1, 1, dtype_of<T>())) {}
  std::int64_t stride(bool transposed) const { return (transposed ? rows : columns) + kGap; }
  T at(std::int64_t i, std::int64_t j) const { return values.data<T>()[i * columns + j]; }
  Tensor stored(bool transposed) const {
    Tensor result = Tensor::full({transposed ? columns : rows, stride(transposed)}, 7, dtype_of<T>());
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < columns; ++j)
        result.data<T>()[transposed ? j * stride(true) + i : i * stride(false) + j] = at(i, j);
    return result;
  }
};

// The product by definition, summed with more precision than T has.
template <class T>
std::vector<long double> by_definition(const Operand<T>& a, const Operand<T>& b) {
  std::vector<long double> product(static_cast<std::size_t>(a.rows * b.columns), 0);
  for (std::int64_t i = 0; i < a.rows; ++i)
    for (std::int64_t l = 0; l < a.columns; ++l)
      for (std::int64_t j = 0; j < b.columns; ++j)
        product[static_cast<std::size_t>(i * b.columns + j)] +=
            static_cast<long double>(a.at(i, l)) * b.at(l, j);
  return product;
}

// All forms of one product against the definition, for each instruction set. The bound allows 256 terms
// summed one after the other, and these sums in any order: not all terms in a row. What lies between the rows
// of C must stay.
template <class T>
void check_product(Gemm<T> gemm, Sizes s) {
  const Operand<T> a(s.m, s.k, 1), b(s.k, s.n, 2), before(s.m, s.n, 3);
  const std::vector<long double> product = by_definition(a, b);
  const auto k = static_cast<double>(s.k);
  const double bound = std::numeric_limits<T>::epsilon() * (4 + std::sqrt(k * std::min(k, 256.0)));
  const auto check_form = [&](bool transpose_a, bool transpose_b, bool accumulate) {
    INFO(s.m << " x " << s.n << ", depth " << s.k << (transpose_a ? ", A transposed" : "")
             << (transpose_b ? ", B transposed" : "") << (accumulate ? ", accumulating" : ""));
    const Tensor left = a.stored(transpose_a), right = b.stored(transpose_b);
    Tensor c = before.stored(false);
    gemm(s.m, s.n, s.k, {left.data<T>(), a.stride(transpose_a), transpose_a},
         {right.data<T>(), b.stride(transpose_b), transpose_b}, {c.data<T>(), before.stride(false)},
         accumulate);
    long double worst = 0;
    std::int64_t gaps_touched = 0;
    for (std::int64_t i = 0; i < s.m; ++i) {
      const T* row = c.data<T>() + i * before.stride(false);
      for (std::int64_t j = 0; j < s.n; ++j) {
        const long double exact =
            product[static_cast<std::size_t>(i * s.n + j)] + (accumulate ? before.at(i, j) : 0);
        const long double error = std::abs(row[j] - exact);
        if (!(error <= worst)) worst = error;
      }
      for (std::int64_t j = s.n; j < s.n + kGap; ++j) gaps_touched += row[j] != T(7);
    }
    CHECK(static_cast<double>(worst) <= bound);
    CHECK(gaps_touched == 0);
  };
  for_each_instruction_set([&] {
    for (const bool transpose_a : {false, true})
      for (const bool transpose_b : {false, true})
        for (const bool accumulate : {false, true}) check_form(transpose_a, transpose_b, accumulate);
  });
}

// Around the tiles of every instruction set (4 or 8 rows; 12, 24 or 48 columns) and the depth of a piece.
const Sizes kEdges[] = {{1, 1, 1},     {1, 17, 5},   {3, 15, 4},   {4, 16, 3},    {5, 47, 2},   {7, 48, 9},
                        {8, 49, 16},   {9, 11, 33},  {12, 12, 12}, {13, 13, 255}, {8, 48, 256}, {17, 97, 257},
                        {10, 25, 513}, {16, 24, 77}, {2, 100, 1},  {100, 1, 10},  {1, 1, 700},  {20, 33, 0}};
// Large enough for several blocks and parts, in each direction.
const Sizes kSeveralTasks[] = {{395, 70, 60},  {21, 1700, 40},  {9, 14, 20011}, {200, 410, 300},
                               {64, 64, 9000}, {390, 390, 530}, {13, 52, 1100}};

}  // namespace

TEST_CASE("ops/gemm/f32_edges") {
  for (const Sizes& s : kEdges) check_product<float>(plain<float>, s);
}

TEST_CASE("ops/gemm/f32_several_tasks") {
  for (const Sizes& s : kSeveralTasks) check_product<float>(plain<float>, s);
}

TEST_CASE("ops/gemm/f64_and_eigen") {
  for (const Sizes& s : kEdges) {
    check_product<double>(plain<double>, s);
    check_product<float>(cpu::gemm_eigen<float>, s);
  }
  check_product<double>(plain<double>, {200, 410, 30});
}

TEST_CASE("ops/gemm/same_bits_for_any_number_of_threads") {
  const int before = num_threads();
  for (const Sizes& s : kSeveralTasks) {
    INFO(s.m << " x " << s.n << ", depth " << s.k);
    const Operand<float> a(s.m, s.k, 1), b(s.k, s.n, 2);
    const Tensor left = a.stored(false), right = b.stored(true);
    const auto product = [&](int threads) {
      set_num_threads(threads);
      Tensor c = Tensor::full({s.m, s.n}, 0.5);
      cpu::gemm(s.m, s.n, s.k, {left.data<float>(), a.stride(false)},
                {right.data<float>(), b.stride(true), true}, {c.data<float>(), s.n}, true);
      set_num_threads(before);
      return c;
    };
    const Tensor one = product(1);
    for (const int threads : {2, 3, 7}) {
      const Tensor many = product(threads);
      CHECK(std::memcmp(one.raw(), many.raw(), one.bytes()) == 0);
    }
  }
}

TEST_CASE("ops/gemm/a_nan_stays_in_its_row_and_column") {
  for_each_instruction_set([] {
    Tensor a = random_tensor({13, 30}, 1, -1, 1, DType::f32),
           b = random_tensor({30, 53}, 2, -1, 1, DType::f32);
    a.data<float>()[12 * 30 + 29] = b.data<float>()[7 * 53 + 52] = std::numeric_limits<float>::quiet_NaN();
    Tensor c = Tensor::zeros({13, 53});
    cpu::gemm(13, 53, 30, {a.data<float>(), 30}, {b.data<float>(), 53}, {c.data<float>(), 53}, false);
    for (std::int64_t i = 0; i < 13; ++i)
      for (std::int64_t j = 0; j < 53; ++j)
        CHECK(std::isnan(c.data<float>()[i * 53 + j]) == (i == 12 || j == 52));
  });
}
