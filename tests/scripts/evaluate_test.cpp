#include "scripts/replk/evaluate.h"

#include <cmath>
#include <limits>

#include "core/error.h"
#include "ops/normalize_images/normalize_images.h"
#include "tests/scripts/train_support.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::shared_ptr<const Dataset> random_pictures(std::int64_t count, std::int64_t classes) {
  Random random(4);
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(count * 12 * 12)), labels;
  for (auto& pixel : pixels) pixel = static_cast<std::uint8_t>(random.next());
  std::vector<std::string> names;
  for (std::int64_t k = 0; k < classes; ++k) names.push_back(std::to_string(k));
  for (std::int64_t i = 0; i < count; ++i) labels.push_back(static_cast<std::uint8_t>(random.below(classes)));
  return std::make_shared<MemoryDataset>("random", names, 12, 12, 1, pixels, labels);
}

ModelCard card_of(const Dataset& dataset) {
  return {.model = "",
          .dataset = dataset.name(),
          .classes = dataset.classes(),
          .height = 12,
          .width = 12,
          .channels = 1,
          .mean = {0.5F},
          .std = {0.25F}};
}

RepLKNet network(std::int64_t classes) {
  return RepLKNet({.large_kernel_sizes = {5},
                   .layers = {1},
                   .channels = {6},
                   .small_kernel = 3,
                   .in_channels = 1,
                   .num_classes = classes,
                   .stem_strides = {2, 1}},
                  5);
}

}  // namespace

TEST_CASE("scripts/evaluate/rank") {
  const std::vector<float> logits = {1, 3, 2, 3, -1};
  CHECK(rank_of(logits, 1) == 0);
  CHECK(rank_of(logits, 3) == 1);  // equal to an earlier one
  CHECK(rank_of(logits, 2) == 2);
  CHECK(rank_of(logits, 4) == 4);
  // A network that gives NaN is never right.
  CHECK(rank_of(std::vector<float>{kNan, kNan, kNan}, 0) == 2);
  CHECK(rank_of(std::vector<float>{1, kNan}, 0) == 1);
  CHECK(rank_of(std::vector<float>{kNan, 1}, 1) == 1);
  CHECK(count_correct(Tensor::of<float>({1, 2, 4, 3}, {2, 2}), Tensor::of<std::int64_t>({1, 1}, {2})) == 1);
}

TEST_CASE("scripts/evaluate/numbers_by_definition") {
  const std::int64_t classes = 7, count = 23;
  const auto dataset = random_pictures(count, classes);
  const ModelCard card = card_of(*dataset);
  RepLKNet model = network(classes);
  model.eval();
  double loss = 0, correct = 0, top5 = 0;
  std::vector<std::int64_t> confusion(static_cast<std::size_t>(classes * classes));
  for (std::int64_t i = 0; i < count; ++i) {
    const Sample sample = dataset->get(i);
    const Tensor picture = Tensor::of(sample.image.pixels, {1, 12, 12, 1});
    const auto logits = model(normalize_images(picture, card.mean, card.std)).data().to_vector();
    double sum = 0;
    std::int64_t before = 0, answer = 0;
    const double own = logits[static_cast<std::size_t>(sample.label)];
    for (std::size_t k = 0; k < logits.size(); ++k) {
      sum += std::exp(logits[k]);
      before += logits[k] > own;
      if (logits[k] > logits[static_cast<std::size_t>(answer)]) answer = static_cast<std::int64_t>(k);
    }
    loss += std::log(sum) - own;
    correct += before == 0;
    top5 += before < 5;
    ++confusion[static_cast<std::size_t>(sample.label * classes + answer)];
  }
  for (const std::int64_t batch_size : {1, 5, 23, 100})
    for (const int workers : {0, 2}) {
      const Evaluation e = evaluate(model, dataset, card, {.batch_size = batch_size, .workers = workers});
      CHECK(e.images == count);
      CHECK(e.loss == Approx(loss / count).epsilon(1e-5));
      CHECK(e.accuracy == Approx(correct / count).epsilon(1e-12));
      CHECK(e.top5 == Approx(top5 / count).epsilon(1e-12));
      CHECK(e.confusion == confusion);
      CHECK_FALSE(e.stopped);
    }
}

TEST_CASE("scripts/evaluate/keeps_the_mode_and_the_weights") {
  const auto dataset = random_pictures(8, 3);
  RepLKNet model = network(3);
  const auto before = model.state().back().tensor.to_vector();
  for (const bool training : {true, false}) {
    model.train(training);
    evaluate(model, dataset, card_of(*dataset));
    CHECK(model.training() == training);
  }
  CHECK(model.state().back().tensor.to_vector() == before);
}

TEST_CASE("scripts/evaluate/can_be_stopped") {
  const auto dataset = random_pictures(20, 3);
  RepLKNet model = network(3);
  std::int64_t seen = 0;
  const Evaluation e = evaluate(model, dataset, card_of(*dataset),
                                {.batch_size = 5,
                                 .progress = [&](std::int64_t done, std::int64_t) { seen = done; },
                                 .stop = [&] { return seen >= 10; }});
  CHECK(e.stopped);
  CHECK(e.images == 10);
}

TEST_CASE("scripts/evaluate/another_number_of_classes_is_refused") {
  const auto dataset = random_pictures(8, 4);
  RepLKNet model = network(3);
  check_error([&] { evaluate(model, dataset, card_of(*dataset)); }, {"random", "4 classes", "has 3"});
}
