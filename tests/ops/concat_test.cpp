#include "ops/concat/concat.h"

#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

namespace {

void check_concat(const std::vector<Shape>& shapes) {
  std::vector<Tensor> inputs;
  for (std::size_t i = 0; i < shapes.size(); ++i) inputs.push_back(random_tensor(shapes[i], 1 + i));
  check_op({.name = str("concat of ", shapes.size(), ", first ", shapes[0]),
            .inputs = inputs,
            .op = [](const auto& in) { return concat(in); },
            .reference =
                [](const auto& in) {
                  Values y;
                  for (const Values& x : in) y.insert(y.end(), x.begin(), x.end());
                  return y;
                }});
}

}  // namespace

TEST_CASE("ops/concat/check_op") {
  check_concat({{3, 2, 4, 5}, {6, 2, 4, 5}});
  check_concat({{1, 1, 1, 1}});
  check_concat({{2, 3}, {1, 3}, {4, 3}});
  check_concat({{7}, {2}});
  CHECK(concat({random_tensor({3, 2, 4, 5}, 1), random_tensor({6, 2, 4, 5}, 1)}).shape() ==
        Shape{9, 2, 4, 5});
}

TEST_CASE("ops/concat/of other dtypes and empty parts") {
  const Tensor a = Tensor::of(std::vector<std::int64_t>{1, 2}, {2}),
               b = Tensor::of(std::vector<std::int64_t>{3}, {1}), none = Tensor::zeros({0}, DType::i64);
  CHECK(concat({a, none, b}).data().to_vector() == Values{1, 2, 3});
}

TEST_CASE("ops/concat/an input given twice gets both gradients") {
  Tape tape;
  const Variable a = tape.watch(random_tensor({2, 3}, 1)), b = tape.watch(random_tensor({1, 3}, 2));
  const Variable y = concat({a, b, a});
  tape.backward(y, Tensor::of(Values{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 40, 50, 60}, {5, 3}));
  CHECK(tape.gradient(a).to_vector() == Values{11, 22, 33, 44, 55, 66});
  CHECK(tape.gradient(b).to_vector() == Values{7, 8, 9});
}

TEST_CASE("ops/concat/errors") {
  const Tensor x = random_tensor({3, 2, 4, 5}, 1);
  check_error([&] { concat({}); }, {"concat", "at least one"});
  check_error(
      [&] {
        concat({x, random_tensor({3, 2, 4, 6}, 1)});
      },
      {"concat", "outermost", "(3, 2, 4, 5)", "(3, 2, 4, 6)", "input 1"});
  check_error([&] { concat({x, random_tensor({3, 2, 4}, 1)}); }, {"(3, 2, 4)"});
  check_error([&] { concat({x, Tensor::zeros({3, 2, 4, 5})}); }, {"f64", "f32"});
  check_error([&] { concat({x, Variable()}); }, {"input 1", "empty"});
}
