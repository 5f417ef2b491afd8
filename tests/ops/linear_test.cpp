#include "ops/linear/linear.h"

#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

namespace {

Values by_definition(std::int64_t rows, std::int64_t in, std::int64_t out,
                     const std::vector<Values>& inputs) {
  const Values &x = inputs[0], &weight = inputs[1];
  Values y;
  for (std::int64_t n = 0; n < rows; ++n)
    for (std::int64_t o = 0; o < out; ++o) {
      double sum = inputs.size() > 2 ? inputs[2][static_cast<std::size_t>(o)] : 0;
      for (std::int64_t i = 0; i < in; ++i)
        sum += x[static_cast<std::size_t>(n * in + i)] * weight[static_cast<std::size_t>(o * in + i)];
      y.push_back(sum);
    }
  return y;
}

OpCase linear_case(std::int64_t rows, std::int64_t in, std::int64_t out, bool biased) {
  OpCase c{.name = str("linear ", rows, " rows, ", in, " -> ", out, biased ? " with bias" : ""),
           .inputs = {random_tensor({rows, in}, 1), random_tensor({out, in}, 2)},
           .op = [](const auto& v) { return linear(v[0], v[1], v.size() > 2 ? v[2] : Variable()); },
           .reference = [=](const auto& v) { return by_definition(rows, in, out, v); },
           .terms = static_cast<double>(in + 1),
           .gradient_terms = static_cast<double>(std::max(rows, out)),
           .full_precision = {1, 2}};
  if (biased)
    c.inputs.push_back(random_tensor({out}, 3));
  else
    c.linear_in = {0, 1};
  return c;
}

}  // namespace

TEST_CASE("ops/linear/check_op") {
  for (const auto& [rows, in, out] : {std::array<std::int64_t, 3>{1, 1, 1},
                                      {1, 7, 5},
                                      {5, 1, 3},
                                      {4, 16, 1},
                                      {6, 64, 10},
                                      {130, 33, 17},
                                      {3, 300, 65}}) {
    check_op(linear_case(rows, in, out, false));
    check_op(linear_case(rows, in, out, true));
  }
}

TEST_CASE("ops/linear/empty_batch_has_zero_gradients") {
  Parameter weight("weight", random_tensor({3, 2}, 1)), bias("bias", random_tensor({3}, 2));
  Tape tape;
  const Variable y = linear(Tensor::empty({0, 2}, DType::f64), weight, bias);
  REQUIRE(y.shape() == Shape({0, 3}));
  tape.backward(y, y.data());
  CHECK(max_magnitude(weight.grad.to_vector()) == 0);
  CHECK(max_magnitude(bias.grad.to_vector()) == 0);
}

TEST_CASE("ops/linear/errors") {
  const Tensor x = random_tensor({2, 4}, 1), weight = random_tensor({3, 4}, 2);
  check_error([&] { linear(x, random_tensor({4, 3}, 2)); }, {"linear", "(out, in)", "(2, 4)", "(4, 3)"});
  check_error([&] { linear(random_tensor({4, 2, 1, 1}, 1), weight); }, {"linear", "(4, 2, 1, 1)", "Flatten"});
  check_error([&] { linear(x, random_tensor({3, 4}, 2, -1, 1, DType::f32)); }, {"linear", "f64", "f32"});
  check_error([&] { linear(x, weight, random_tensor({4}, 3)); }, {"linear", "bias", "(3)", "(4)"});
  check_error([&] { linear(x, weight, random_tensor({3}, 3, -1, 1, DType::f32)); },
              {"linear", "bias", "f32"});
}
