#include "ops/add/add.h"

#include <algorithm>
#include <cmath>

#include "tests/support/catch.h"
#include "tests/support/check_op.h"
#include "tests/support/instruction_sets.h"

using namespace replk;
using namespace replk::test;

namespace {

// b, but where a + b is within a difference step of the corner of relu.
Tensor away_from_corner(const Tensor& a, Tensor b) {
  for (std::int64_t i = 0; i < b.numel(); ++i)
    if (std::abs(a.data<double>()[i] + b.data<double>()[i]) < 1e-3) b.data<double>()[i] += 0.01;
  return b;
}

OpCase add_relu_case(const Shape& shape) {
  const Tensor a = random_tensor(shape, 1);
  return {.name = str("add, relu ", shape),
          .inputs = {a, away_from_corner(a, random_tensor(shape, 2))},
          .op = [](const auto& in) { return add(in[0], in[1], {.relu = true}); },
          .reference =
              [](const auto& in) {
                Values y(in[0].size());
                for (std::size_t i = 0; i < y.size(); ++i) y[i] = std::max(in[0][i] + in[1][i], 0.0);
                return y;
              }};
}

OpCase add_case(const Shape& shape) {
  return {.name = str("add ", shape),
          .inputs = {random_tensor(shape, 1), random_tensor(shape, 2)},
          .op = [](const auto& in) { return add(in[0], in[1]); },
          .reference =
              [](const auto& in) {
                Values y(in[0].size());
                for (std::size_t i = 0; i < y.size(); ++i) y[i] = in[0][i] + in[1][i];
                return y;
              }};
}

}  // namespace

TEST_CASE("ops/add/check_op") {
  for_each_instruction_set([] {
    for (const Shape& shape :
         {Shape{6, 2, 4, 5}, Shape{1, 1, 1, 1}, Shape{1, 3, 7, 5}, Shape{7, 9}, Shape{40, 8, 20, 20}}) {
      check_op(add_case(shape));
      check_op(add_relu_case(shape));
    }
  });
}

TEST_CASE("ops/add/gradients_are_shared") {
  const Tensor dy = random_tensor({2, 3, 4, 5}, 3);
  Tape tape;
  const Variable a = tape.watch(random_tensor(dy.shape(), 1)), b = tape.watch(random_tensor(dy.shape(), 2));
  tape.backward(add(a, b), dy);
  CHECK(tape.gradient(a).shares_storage(dy));
  CHECK(tape.gradient(b).shares_storage(dy));
}

// One masked gradient serves both inputs.
TEST_CASE("ops/add/relu_gradient_is_shared") {
  const Tensor x = random_tensor({2, 3, 4, 5}, 1), dy = random_tensor(x.shape(), 3);
  Tape tape;
  const Variable a = tape.watch(x), b = tape.watch(random_tensor(x.shape(), 2));
  tape.backward(add(a, b, {.relu = true}), dy);
  CHECK(tape.gradient(a).shares_storage(tape.gradient(b)));
  CHECK_FALSE(tape.gradient(a).shares_storage(dy));
}

// The second contribution must not write into dy, which the first one shares.
TEST_CASE("ops/add/to_itself") {
  const Tensor dy = random_tensor({2, 3, 4, 5}, 3);
  const Values before = dy.to_vector();
  Tape tape;
  const Variable a = tape.watch(random_tensor(dy.shape(), 1));
  const Variable twice = add(a, a);
  tape.backward(add(twice, a), dy);
  const Values gradient = tape.gradient(a).to_vector();
  for (std::size_t i = 0; i < before.size(); ++i) CHECK(gradient[i] == Approx(3 * before[i]).epsilon(1e-15));
  CHECK(dy.to_vector() == before);
}

TEST_CASE("ops/add/errors") {
  const Tensor x = random_tensor({3, 2, 4, 4}, 1);
  check_error([&] { add(x, random_tensor({3, 2, 4, 5}, 1)); }, {"add", "(3, 2, 4, 4)", "(3, 2, 4, 5)"});
  check_error([&] { add(x, random_tensor({3, 2, 4, 4}, 1, -1, 1, DType::f32)); }, {"add", "f64", "f32"});
  check_error([&] { add(Tensor::zeros({2}, DType::i64), Tensor::zeros({2}, DType::i64)); }, {"add", "i64"});
}
