#include "ops/matmul/matmul.h"

#include "core/precision.h"
#include "ops/primitives/elementwise.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"
#include "tests/support/cuda.h"

using namespace replk;
using namespace replk::test;

namespace {

Values by_definition(std::int64_t m, std::int64_t n, std::int64_t k, const Values& a, const Values& b) {
  Values y;
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (std::int64_t l = 0; l < k; ++l)
        sum += a[static_cast<std::size_t>(i * k + l)] * b[static_cast<std::size_t>(l * n + j)];
      y.push_back(sum);
    }
  return y;
}

OpCase matmul_case(std::int64_t m, std::int64_t n, std::int64_t k) {
  return {.name = str("matmul ", m, " x ", k, " times ", k, " x ", n),
          .inputs = {random_tensor({m, k}, 1), random_tensor({k, n}, 2)},
          .op = [](const auto& v) { return matmul(v[0], v[1]); },
          .reference = [=](const auto& v) { return by_definition(m, n, k, v[0], v[1]); },
          .terms = static_cast<double>(k),
          .gradient_terms = static_cast<double>(std::max(m, n)),
          .linear_in = {0, 1}};
}

}  // namespace

TEST_CASE("ops/matmul/check_op") {
  for (const auto& [m, n, k] : {std::array<std::int64_t, 3>{1, 1, 1},
                                {1, 9, 4},
                                {5, 1, 7},
                                {6, 64, 16},
                                {13, 65, 17},
                                {64, 30, 120},
                                {7, 130, 1}})
    check_op(matmul_case(m, n, k));
}

TEST_CASE("ops/matmul/square_of_one_variable") {
  // Both gradients of y = a a land in one place.
  check_op({.name = "a a",
            .inputs = {random_tensor({5, 5}, 1)},
            .op = [](const auto& v) { return matmul(v[0], v[0]); },
            .reference = [](const auto& v) { return by_definition(5, 5, 5, v[0], v[0]); },
            .terms = 5,
            .gradient_terms = 10});
}

TEST_CASE("ops/matmul/errors") {
  const Tensor a = random_tensor({2, 4}, 1);
  check_error([&] { matmul(a, random_tensor({3, 4}, 2)); }, {"matmul", "(k, n)", "(2, 4)", "(3, 4)"});
  check_error([&] { matmul(a, random_tensor({4}, 2)); }, {"matmul", "(4)"});
  check_error([&] { matmul(a, random_tensor({4, 3}, 2, -1, 1, DType::f32)); }, {"matmul", "f64", "f32"});
}

TEST_CASE("ops/matmul/tf32 on CUDA only when asked for") {
  if (!cuda_or_skip("tf32")) return;
  const Tensor a = random_tensor({128, 512}, 1, -1, 1, DType::f32),
               b = random_tensor({512, 96}, 2, -1, 1, DType::f32);
  const Values exact = matmul(cast(a, DType::f64), cast(b, DType::f64)).data().to_vector();
  const auto error = [&] {
    return max_difference(matmul(a.to(Device::cuda()), b.to(Device::cuda())).data().to_vector(), exact);
  };
  CHECK(precision() == Precision::fp32);
  CHECK(error() < 1e-4);
  set_precision(Precision::tf32);
  const double rounded = error();
  set_precision(Precision::fp32);
  CHECK(rounded > 1e-4);  // or the setting does nothing
  CHECK(rounded < 0.1);
  CHECK(error() < 1e-4);  // the algorithm found for the other setting must not be used for this one
}

TEST_CASE("ops/matmul/on CUDA with memory that is not aligned") {
  if (!cuda_or_skip("misaligned products")) return;
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16}) {
    INFO(dtype);
    // Slices that start one row of 3 elements in.
    const Tensor a = random_tensor({8, 3}, 1, -1, 1, dtype), b = random_tensor({4, 5}, 2, -1, 1, dtype);
    const Values exact =
        matmul(cast(a.slice(1, 8), DType::f64), cast(b.slice(1, 4), DType::f64)).data().to_vector();
    const Values got =
        matmul(a.to(Device::cuda()).slice(1, 8), b.to(Device::cuda()).slice(1, 4)).data().to_vector();
    const double tolerance = dtype == DType::f64 ? 1e-14 : dtype == DType::f32 ? 1e-6 : 2e-2;
    CHECK(max_difference(got, exact) <= tolerance);
  }
}
