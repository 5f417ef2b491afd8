#include "core/tape.h"

#include "ops/activations/activations.h"
#include "ops/add/add.h"
#include "ops/batch_norm2d/batch_norm2d.h"
#include "ops/drop_path/drop_path.h"
#include "ops/matmul/matmul.h"
#include "ops/reductions/reductions.h"
#include "ops/scale_channels/scale_channels.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

namespace {
Tensor vector(std::vector<double> values) {
  return Tensor::of(values, {static_cast<std::int64_t>(values.size())});
}
// x -> a * x, element by element.
Variable times(const Variable& x, double a) {
  return scale_channels(x, Tensor::full({x.shape()[0]}, a, DType::f64));
}
}  // namespace

TEST_CASE("core/tape/records_only_while_it_lives") {
  Parameter p("p", vector({1, 2}));
  CHECK(Tape::current() == nullptr);
  const Variable outside = sum(Variable(p));
  {
    Tape tape;
    CHECK(Tape::current() == &tape);
    sum(Variable(vector({1})));  // a constant: nothing to record
    CHECK(tape.size() == 0);
    const Variable y = sum(Variable(p));
    CHECK(tape.size() == 1);
    tape.backward(y);
    CHECK(tape.size() == 0);
    check_error([&] { tape.backward(outside); }, {"backward", "not on this tape"});
  }
  CHECK(Tape::current() == nullptr);
  CHECK(p.grad.to_vector() == Values{1, 1});
}

TEST_CASE("core/tape/a_value_used_several_times_gets_the_sum") {
  Tape tape;
  const Variable x = tape.watch(vector({1, -2, 3}));
  // y = x + 2x + 4 (x + 2x); add hands its gradient on without a copy, which later contributions must not
  // write into.
  const Variable a = times(x, 2), b = add(x, a), c = times(b, 4);
  const Variable y = add(b, c);
  const Tensor dy = vector({1, 10, 100});
  tape.backward(y, dy);
  CHECK(tape.gradient(x).to_vector() == Values{15, 150, 1500});
  CHECK(dy.to_vector() == Values{1, 10, 100});
}

TEST_CASE("core/tape/the_same_input_twice") {
  Tape tape;
  const Variable x = tape.watch(vector({1, 2}));
  tape.backward(add(x, x), vector({1, 5}));
  CHECK(tape.gradient(x).to_vector() == Values{2, 10});
}

TEST_CASE("core/tape/parameters_accumulate_over_tapes_until_told_otherwise") {
  Parameter p("p", vector({1, 2}));
  for (int i = 0; i < 3; ++i) {
    Tape tape;
    tape.backward(sum(times(p, 2)));
  }
  CHECK(p.grad.to_vector() == Values{6, 6});
  p.grad_ready = false;
  Tape tape;
  tape.backward(sum(p));
  CHECK(p.grad.to_vector() == Values{1, 1});
}

TEST_CASE("core/tape/frozen_parameters_get_none") {
  Parameter p("p", vector({1, 2})), frozen("frozen", vector({3, 4}));
  frozen.trainable = false;
  Tape tape;
  tape.backward(sum(add(p, frozen)));
  CHECK(p.grad_ready);
  CHECK_FALSE(frozen.grad_ready);
}

TEST_CASE("core/tape/what_the_output_does_not_depend_on_gets_zero") {
  Tape tape;
  const Variable x = tape.watch(vector({1})), unused = tape.watch(vector({2, 3}));
  const Variable dead_end = times(unused, 2);
  tape.backward(times(x, 3), vector({1}));
  CHECK(tape.gradient(unused).to_vector() == Values{0, 0});
}

TEST_CASE("core/tape/frees_as_it_goes") {
  const auto in_use = [] { return allocator_for(Device::cpu()).stats().in_use; };
  const std::int64_t before = in_use();
  {
    Tape tape;
    Variable y = tape.watch(Tensor::full({1 << 16}, 1, DType::f64));
    for (int i = 0; i < 8; ++i) y = sigmoid(y);  // saves its output
    tape.backward(sum(y));
    y = Variable();
    CHECK(in_use() - before <= 3 * (std::int64_t{8} << 16));  // the leaf, its gradient
  }
  CHECK(in_use() == before);
}

TEST_CASE("core/tape/errors") {
  Tape tape;
  const Variable x = tape.watch(vector({1, 2}));
  check_error([&] { tape.backward(x); }, {"backward", "one element", "(2)"});
  check_error([&] { tape.backward(x, vector({1, 2, 3})); }, {"backward", "(2)", "(3)"});
  check_error([&] { tape.gradient(times(x, 2)); }, {"watch()"});
  {
    Tape inner;
    check_error([&] { times(x, 2); }, {"scale_channels", "another tape"});
  }
  check_error([&] { tape.backward(Variable(vector({1}))); }, {"not on this tape"});
}

TEST_CASE("core/checkpoint/same_gradients_with_fewer_nodes") {
  Parameter w("w", random_tensor({4, 4}, 1)), v("v", random_tensor({4, 4}, 2));
  const Tensor input = random_tensor({3, 4}, 3);
  const auto block = [](Parameter& weight) {
    return [&weight](const Variable& x) { return add(x, sigmoid(matmul(x, weight))); };
  };
  const auto gradients = [&](bool saving, bool watched) {
    w.grad_ready = v.grad_ready = false;
    Tape tape;
    const Variable x = watched ? tape.watch(input) : Variable(input);
    // x is used beside the checkpoint too: the contributions meet in one gradient.
    Variable y = saving ? checkpoint(block(w), x) : block(w)(x);
    y = add(saving ? checkpoint(block(v), y) : block(v)(y), times(y, 3));
    if (watched) y = add(y, x);
    tape.backward(sum(sigmoid(y)));
    Values all = w.grad.to_vector();
    for (const double g : v.grad.to_vector()) all.push_back(g);
    if (watched)
      for (const double g : tape.gradient(x).to_vector()) all.push_back(g);
    return all;
  };
  for (const bool watched : {false, true}) {
    const Values plain = gradients(false, watched);
    CHECK(max_difference(gradients(true, watched), plain) <= 1e-15 * max_magnitude(plain));
  }
}

TEST_CASE("core/checkpoint/random_numbers_and_statistics_repeat") {
  Parameter scale("scale", Tensor::full({2}, 1, DType::f64)), shift("shift", Tensor::zeros({2}, DType::f64));
  const Tensor input = random_tensor({2, 16, 3, 3}, 3);
  const auto run = [&](bool saving) {
    Tensor mean = Tensor::zeros({2}, DType::f64), var = Tensor::full({2}, 1, DType::f64);
    scale.grad_ready = shift.grad_ready = false;
    Tape tape;
    const auto f = [&](const Variable& x) {
      const Variable y =
          batch_norm2d(x, scale, shift, mean, var, {.update_statistics = !Tape::recomputing()});
      return drop_path(y, {.probability = 0.5, .seed = 1, .stream = 2});
    };
    const Variable x = tape.watch(input);
    tape.backward(sum(sigmoid(saving ? checkpoint(f, x) : f(x))));
    Values all = mean.to_vector();
    for (const Tensor& t : {var, scale.grad, shift.grad, tape.gradient(x)})
      for (const double value : t.to_vector()) all.push_back(value);
    return all;
  };
  CHECK(run(true) == run(false));
  CHECK_FALSE(Tape::recomputing());
}
