#include "ops/log_softmax/log_softmax.h"

#include <cmath>

#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

namespace {

Values by_definition(const Values& x, std::size_t classes) {
  Values y(x.size());
  for (std::size_t row = 0; row < x.size(); row += classes) {
    double sum = 0;
    for (std::size_t k = 0; k < classes; ++k) sum += std::exp(x[row + k]);
    for (std::size_t k = 0; k < classes; ++k) y[row + k] = x[row + k] - std::log(sum);
  }
  return y;
}

}  // namespace

TEST_CASE("ops/log_softmax/check_op") {
  for (const Shape& shape : {Shape{4, 9}, Shape{1, 1}, Shape{3, 1}, Shape{1, 300}, Shape{257, 33}})
    check_op({.name = str("log_softmax ", shape),
              .inputs = {random_tensor(shape, 1, -3, 3)},
              .op = [](const auto& in) { return log_softmax(in[0]); },
              .reference = [&](const auto& in) { return by_definition(in[0], shape[1]); },
              .terms = static_cast<double>(shape[1]),
              .gradient_terms = static_cast<double>(shape[1])});
}

TEST_CASE("ops/log_softmax/huge logits") {
  const Tensor x = Tensor::of(std::vector<float>{1e4f, -1e4f, 1e4f, 3e38f, 0, 0}, {2, 3});
  const Values y = log_softmax(x).data().to_vector();
  CHECK(y[0] == Approx(-std::log(2.0)));
  CHECK(y[1] == Approx(-2e4 - std::log(2.0)));
  CHECK(y[3] == 0);
  CHECK(y[4] == Approx(-3e38));
}

TEST_CASE("ops/log_softmax/errors") {
  check_error(
      [] {
        log_softmax(random_tensor({3, 2, 4, 4}, 1));
      },
      {"log_softmax", "(N, classes)", "(3, 2, 4, 4)"});
  check_error([] { log_softmax(random_tensor({3, 0}, 1)); }, {"log_softmax", "(3, 0)"});
}
