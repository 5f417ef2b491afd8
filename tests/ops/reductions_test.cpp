#include "ops/reductions/reductions.h"

#include <cmath>

#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

namespace {

const std::vector<Shape> kShapes = {Shape{},       Shape{1},       Shape{7},           Shape{3, 4, 5},
                                    Shape{257, 9}, Shape{1 << 14}, Shape{5, 3, 61, 91}};

double total(const Values& x) {
  long double sum = 0;
  for (const double value : x) sum += value;
  return static_cast<double>(sum);
}

}  // namespace

TEST_CASE("ops/sum/check_op") {
  for (const Shape& shape : kShapes)
    check_op({.name = str("sum ", shape),
              .inputs = {random_tensor(shape, 1)},
              .op = [](const auto& in) { return sum(in[0]); },
              .reference = [](const auto& in) { return Values{total(in[0])}; },
              .terms = static_cast<double>(shape.numel()),
              .linear_in = {0}});
}

TEST_CASE("ops/mean/check_op") {
  for (const Shape& shape : kShapes)
    check_op(
        {.name = str("mean ", shape),
         .inputs = {random_tensor(shape, 1)},
         .op = [](const auto& in) { return mean(in[0]); },
         .reference = [](const auto& in) { return Values{total(in[0]) / static_cast<double>(in[0].size())}; },
         .terms = static_cast<double>(shape.numel()),
         .linear_in = {0}});
}

TEST_CASE("ops/sum/a long f32 sum keeps its digits") {
  // Adding 2^22 times 1.1f one after the other would be off by about 1 %.
  const Tensor x = Tensor::full({1 << 22}, 1.1);
  CHECK(std::abs(sum(x).data().item() - 0x1p22 * double{1.1f}) <= 4 * 0x1p22 * 1.1 * 0x1p-23);
  CHECK(std::abs(mean(x).data().item() - double{1.1f}) <= 4 * 1.1 * 0x1p-23);
}

TEST_CASE("ops/sum/no elements") {
  CHECK(sum(Tensor::zeros({0, 3})).data().item() == 0);
  CHECK(std::isnan(mean(Tensor::zeros({0, 3})).data().item()));
}

TEST_CASE("ops/sum/errors") {
  check_error([] { sum(Variable()); }, {"sum", "empty"});
  check_error([] { mean(Tensor::zeros({2}, DType::i64)); }, {"f32 or f64", "i64"});
}
