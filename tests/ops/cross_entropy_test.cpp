#include "ops/cross_entropy/cross_entropy.h"

#include <cmath>

#include "core/random.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"
#include "tests/support/cuda.h"

using namespace replk;
using namespace replk::test;

namespace {

using Labels = std::vector<std::int64_t>;

// -sum_k t[k] log softmax(x)[k] of one row, from the formula.
double row_loss(const Values& x, const Values& t) {
  double sum = 0, loss = 0;
  for (const double logit : x) sum += std::exp(logit);
  for (std::size_t k = 0; k < x.size(); ++k) loss -= t[k] * (x[k] - std::log(sum));
  return loss;
}

// Row r of logits (rows, classes), or (classes, rows) when the class is outermost.
Values row_of(const Values& logits, std::size_t r, std::size_t rows, bool class_outermost) {
  const std::size_t classes = logits.size() / rows;
  Values row(classes);
  for (std::size_t k = 0; k < classes; ++k)
    row[k] = class_outermost ? logits[k * rows + r] : logits[r * classes + k];
  return row;
}

Values hard_loss(const Values& logits, const Labels& labels, bool class_outermost, CrossEntropyParams p) {
  double sum = 0, count = 0;
  for (std::size_t r = 0; r < labels.size(); ++r) {
    if (labels[r] == p.ignore_index) continue;
    const Values x = row_of(logits, r, labels.size(), class_outermost);
    Values t(x.size(), p.label_smoothing / static_cast<double>(x.size()));
    t[static_cast<std::size_t>(labels[r])] += 1 - p.label_smoothing;
    sum += row_loss(x, t);
    count += 1;
  }
  return {sum / count};
}

// Labels of which about a third are ignored, never the first.
Labels random_labels(std::int64_t rows, std::int64_t classes, std::int64_t ignore_index, bool ignore_some) {
  Random random(5);
  Labels labels;
  for (std::int64_t r = 0; r < rows; ++r)
    labels.push_back(ignore_some && r && random.below(3) == 0 ? ignore_index : random.below(classes));
  return labels;
}

void check_hard(const Shape& logits, CrossEntropyParams params, bool ignore_some) {
  const bool pixels = logits.rank() == 4;
  const Shape rows = pixels ? Shape{logits[1], logits[2], logits[3]} : Shape{logits[0]};
  const std::int64_t classes = logits[pixels ? 0 : 1];
  const Labels labels = random_labels(rows.numel(), classes, params.ignore_index, ignore_some);
  const Tensor label_tensor = Tensor::of(labels, rows);
  check_op({.name = str("cross_entropy ", logits, " smoothing ", params.label_smoothing, " ignore ",
                        params.ignore_index),
            .inputs = {random_tensor(logits, 1, -3, 3)},
            .op = [&](const auto& in) { return cross_entropy(in[0], beside(label_tensor, in[0]), params); },
            .reference = [&](const auto& in) { return hard_loss(in[0], labels, pixels, params); },
            .terms = static_cast<double>(logits.numel()),
            .gradient_terms = static_cast<double>(classes)});
}

const std::vector<Shape> kShapes = {
    Shape{6, 10},   Shape{1, 1},       Shape{1, 7},       Shape{5, 1},       Shape{3, 1000},
    Shape{600, 11}, Shape{5, 2, 3, 4}, Shape{3, 1, 1, 1}, Shape{1, 2, 2, 3}, Shape{21, 2, 9, 40}};

}  // namespace

TEST_CASE("ops/cross_entropy/check_op") {
  for (const Shape& shape : kShapes)
    for (const double smoothing : {0.0, 0.1, 1.0}) {
      check_hard(shape, {.label_smoothing = smoothing}, false);
      check_hard(shape, {.label_smoothing = smoothing}, true);
    }
  check_hard({6, 10}, {.ignore_index = 3}, true);  // the ignored label is a class
  check_hard({5, 2, 6, 7}, {.ignore_index = 255}, true);
}

TEST_CASE("ops/cross_entropy/soft check_op") {
  for (const Shape& shape : {Shape{6, 10}, Shape{1, 1}, Shape{1, 7}, Shape{3, 1000}, Shape{600, 11}}) {
    // Not normalised, so that the sum of the targets matters.
    const Tensor targets = random_tensor(shape, 2, 0, 1);
    check_op({.name = str("cross_entropy_soft ", shape),
              .inputs = {random_tensor(shape, 1, -3, 3)},
              .op = [&](const auto& in) { return cross_entropy_soft(in[0], beside(targets, in[0])); },
              .reference =
                  [&](const auto& in) {
                    const Values t = targets.to_vector();
                    const auto rows = static_cast<std::size_t>(shape[0]);
                    double sum = 0;
                    for (std::size_t r = 0; r < rows; ++r)
                      sum += row_loss(row_of(in[0], r, rows, false), row_of(t, r, rows, false));
                    return Values{sum / static_cast<double>(rows)};
                  },
              .terms = static_cast<double>(shape.numel()),
              .gradient_terms = static_cast<double>(shape[1])});
  }
}

TEST_CASE("ops/cross_entropy/soft equals labels for one-hot targets") {
  const Tensor logits = random_tensor({4, 5}, 1, -3, 3);
  const Labels labels = {4, 0, 2, 2};
  Tensor one_hot = Tensor::zeros({4, 5}, DType::f64);
  for (std::size_t r = 0; r < 4; ++r) one_hot.data<double>()[r * 5 + static_cast<std::size_t>(labels[r])] = 1;
  CHECK(cross_entropy_soft(logits, one_hot).data().item() ==
        Approx(cross_entropy(logits, Tensor::of(labels, {4})).data().item()).epsilon(1e-14));
}

TEST_CASE("ops/cross_entropy/huge logits") {
  // Row 0: two equal logits of 1e4 and an f32 spacing of 1e-3 there; row 1: the label is 2e4 below the best.
  const Tensor logits = Tensor::of(std::vector<float>{1e4f, 1e4f, -1e4f, 1e4f, 0, -1e4f}, {2, 3});
  Tape tape;
  const Variable x = tape.watch(logits);
  const Variable loss = cross_entropy(x, Tensor::of(Labels{0, 2}, {2}));
  CHECK(loss.data().item() == Approx((std::log(2.0) + 2e4) / 2));
  tape.backward(loss);
  const Values expected = {-0.25, 0.25, 0, 0.5, 0, -0.5};
  CHECK(max_difference(tape.gradient(x).to_vector(), expected) <= 1e-7);
}

TEST_CASE("ops/cross_entropy/minus infinity masks a class") {
  const float inf = std::numeric_limits<float>::infinity();
  const Tensor logits = Tensor::of(std::vector<float>{0, -inf, 0}, {1, 3});
  Tape tape;
  const Variable x = tape.watch(logits);
  const Variable loss = cross_entropy(x, Tensor::of(Labels{0}, {1}));
  CHECK(loss.data().item() == Approx(std::log(2.0)));
  tape.backward(loss);
  CHECK(max_difference(tape.gradient(x).to_vector(), {-0.5, 0, 0.5}) <= 1e-7);
}

TEST_CASE("ops/cross_entropy/all rows ignored") {
  Tape tape;
  const Variable x = tape.watch(random_tensor({2, 3}, 1));
  const Variable loss = cross_entropy(x, Tensor::of(Labels{-100, -100}, {2}), {.label_smoothing = 0.1});
  CHECK(std::isnan(loss.data().item()));
  tape.backward(loss);
  CHECK(tape.gradient(x).to_vector() == Values(6, 0.0));
}

TEST_CASE("ops/cross_entropy/on CUDA a label that is no class makes the loss NaN") {
  if (!cuda_or_skip("cross_entropy with bad labels")) return;
  const Tensor logits = random_tensor({3, 4}, 1).to(Device::cuda());
  for (const std::int64_t label : {4, -1, 1 << 30}) {
    const Tensor labels = Tensor::of(Labels{0, label, 1}, {3}).to(Device::cuda());
    CHECK(std::isnan(cross_entropy(logits, labels).data().item()));
  }
  const Tensor ignored = Tensor::of(Labels{-100, -100, -100}, {3}).to(Device::cuda());
  CHECK(std::isnan(cross_entropy(logits, ignored).data().item()));
}

TEST_CASE("ops/cross_entropy/errors") {
  const Tensor logits = random_tensor({3, 4}, 1), pixels = random_tensor({4, 2, 3, 5}, 1);
  const auto labels = [](Labels values) {
    const auto n = static_cast<std::int64_t>(values.size());
    return Tensor::of(values, {n});
  };
  check_error([&] { cross_entropy(logits, labels({0, 1})); }, {"cross_entropy", "(3)", "(2)", "(3, 4)"});
  check_error([&] { cross_entropy(logits, Tensor::zeros({3})); }, {"cross_entropy", "i64", "f32"});
  check_error(
      [&] {
        cross_entropy(random_tensor({3, 4, 5}, 1), labels({0, 1, 2}));
      },
      {"cross_entropy", "(N, classes)", "(classes, N, H, W)", "(3, 4, 5)"});
  check_error(
      [&] {
        cross_entropy(logits, labels({0, 4, 1}));
      },
      {"cross_entropy", "[0, 4)", "4 in labels[1]"});
  check_error([&] { cross_entropy(logits, labels({0, 1, -1})); }, {"got -1", "labels[2]"});
  check_error(
      [&] {
        cross_entropy(logits, labels({0, 1, -100}), {.ignore_index = 255});
      },
      {"got -100", "ignored 255"});
  Tensor map = Tensor::zeros({2, 3, 5}, DType::i64);
  map.data<std::int64_t>()[15 + 2 * 5 + 4] = 9;
  check_error([&] { cross_entropy(pixels, map); }, {"got 9", "labels[1, 2, 4]"});
  check_error([&] { cross_entropy(pixels, labels({0, 1})); }, {"(2, 3, 5)"});
  check_error(
      [&] {
        cross_entropy(logits, labels({0, 1, 2}), {.label_smoothing = 1.5});
      },
      {"label_smoothing", "[0, 1]", "1.5"});
  check_error(
      [&] {
        cross_entropy_soft(logits, random_tensor({3, 5}, 1));
      },
      {"cross_entropy_soft", "(3, 4)", "(3, 5)"});
  check_error([&] { cross_entropy_soft(logits, Tensor::zeros({3, 4})); }, {"f64", "f32"});
}
