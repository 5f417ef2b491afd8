// The parts of a training recipe: that their options reach what they are named after.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <set>

#include "core/allocator.h"
#include "core/error.h"
#include "data/codec.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/normalize_images/normalize_images.h"
#include "scripts/replk/batch_pictures.h"
#include "scripts/replk/evaluate.h"
#include "scripts/replk/train_parts.h"
#include "tests/scripts/train_support.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

namespace {

struct Fixture {
  TemporaryFolder folder;
  TrainOptions options;
  Fixture() : options(small_options(folder / "data")) { write_idx_dataset(folder / "data"); }
};

Batch first_batch(TrainParts& parts) {
  parts.loader.start(0);
  return *parts.loader.next();
}

// The same pictures `times` over, with the labels of a batch of that size.
Batch repeated(const Batch& batch, std::int64_t times) {
  Batch result = batch;
  const std::int64_t n = batch.size() / times, bytes = n * batch.images.numel() / batch.size();
  result.images = batch.images.clone();
  for (std::int64_t i = 1; i < times; ++i)
    std::copy_n(batch.images.data<std::uint8_t>(), bytes, result.images.data<std::uint8_t>() + i * bytes);
  return result;
}

std::map<std::string, std::vector<double>> weights_of(TrainParts& parts) {
  std::map<std::string, std::vector<double>> result;
  for (const NamedTensor& entry : parts.model.state()) result[entry.name] = entry.tensor.to_vector();
  return result;
}

double largest_change(const std::vector<double>& a, const std::vector<double>& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

std::int64_t peak_of_step(TrainParts& parts, const Batch& batch) {
  allocator_for(Device::cpu()).reset_peak();
  parts.trainer.step(batch);
  return allocator_for(Device::cpu()).stats().peak;
}

}  // namespace

TEST_CASE("scripts/recipe/accumulation_changes_memory_not_results") {
  Fixture fixture;
  fixture.options.optimizer = "sgd";  // moves weights in proportion to gradients
  fixture.options.clip_grad = 0;
  fixture.options.drop_path = 0;  // would change what batch norms see; see below
  for (const auto& [mixup, accumulate] : {std::pair(0.0, 2), {0.8, 4}, {0.0, 5}, {0.0, 16}}) {
    INFO("mixup " << mixup << ", " << accumulate << " parts");
    fixture.options.mixup = mixup;
    fixture.options.accumulate = 1;
    TrainParts whole(fixture.options);
    fixture.options.accumulate = accumulate;
    TrainParts in_parts(fixture.options);
    // Batch norms see a part at a time. Where all parts hold the same pictures (with other labels) they see
    // the same, so that nothing but rounding is left.
    const Batch batch = repeated(first_batch(whole), accumulate == 5 ? 16 : accumulate);
    CHECK(batch.targets.defined() == (mixup > 0));
    const StepResult a = whole.trainer.step(batch), b = in_parts.trainer.step(batch);
    CHECK(b.loss == Approx(a.loss).epsilon(1e-5));
    CHECK(b.gradient_norm == Approx(a.gradient_norm).epsilon(1e-4));
    CHECK(b.correct == a.correct);
    CHECK(b.images == 16);
    const auto expected = weights_of(whole);
    for (const auto& [name, values] : weights_of(in_parts)) {
      if (name.find("running") != std::string::npos || name.find("tracked") != std::string::npos) continue;
      INFO(name);
      CHECK(largest_change(values, expected.at(name)) < 2e-6);
    }
  }
  fixture.options.batch_size = 64;
  fixture.options.accumulate = 1;
  TrainParts whole(fixture.options);
  fixture.options.accumulate = 8;
  TrainParts in_parts(fixture.options);
  const Batch batch = first_batch(whole);
  CHECK(peak_of_step(in_parts, batch) < peak_of_step(whole, batch) / 2);
}

TEST_CASE("scripts/recipe/drop_path_is_drawn_by_the_place_in_the_whole_batch") {
  DropPath layer(0.5);
  layer.train();
  const Tensor ones = Tensor::full({1, 12, 1, 1}, 1);
  layer.set_step(3, 7);
  const std::vector<double> whole = layer(ones).data().to_vector();
  std::vector<double> parts;
  for (const std::int64_t begin : {0, 5, 10}) {
    layer.set_step(3, 7, begin);
    const Tensor part = Tensor::full({1, std::min<std::int64_t>(5, 12 - begin), 1, 1}, 1);
    for (const double value : layer(part).data().to_vector()) parts.push_back(value);
  }
  CHECK(parts == whole);
  CHECK(std::count(whole.begin(), whole.end(), 0) > 0);

  // Two parts with the same pictures and labels differ in what is dropped.
  Fixture fixture;
  fixture.options.drop_path = 0.5;
  TrainParts alone(fixture.options);
  fixture.options.accumulate = 2;
  TrainParts twice(fixture.options);
  Batch batch = repeated(first_batch(alone), 2);
  std::copy_n(batch.labels.data<std::int64_t>(), 8, batch.labels.data<std::int64_t>() + 8);
  Batch half = batch;
  half.images = batch.images.slice(0, 8);
  half.labels = batch.labels.slice(0, 8);
  half.indices.resize(8);
  CHECK(alone.trainer.step(half).loss != twice.trainer.step(batch).loss);
}

TEST_CASE("scripts/recipe/checkpointing_gives_the_same_bits_with_less_memory") {
  Fixture fixture;
  fixture.options.drop_path = 0.3;
  fixture.options.batch_size = 64;
  fixture.options.model_config =
      R"({"channels":[4,6],"layers":[3,3],"large_kernel_sizes":[7,5],"small_kernel":3})";
  TrainParts plain(fixture.options);
  fixture.options.checkpointing = true;
  TrainParts checkpointed(fixture.options);
  CHECK(checkpointed.model.config().use_checkpoint);
  const Batch batch = first_batch(plain);
  for (int step = 0; step < 3; ++step) {
    const std::int64_t most = peak_of_step(plain, batch), less = peak_of_step(checkpointed, batch);
    CHECK(less < 0.7 * static_cast<double>(most));
  }
  CHECK(weights_of(plain) == weights_of(checkpointed));
}

TEST_CASE("scripts/recipe/mixed_batches_have_soft_targets") {
  Fixture fixture;
  fixture.options.mixup = 0.8;
  fixture.options.cutmix = 1;
  fixture.options.label_smoothing = 0.2;
  fixture.options.model_config = kSmallNetwork;
  fixture.options.drop_path = 0;
  TrainParts parts(fixture.options);
  const Batch batch = first_batch(parts);
  REQUIRE(batch.targets.shape() == Shape{16, 4});
  const float* row = batch.targets.data<float>();
  CHECK(row[0] + row[1] + row[2] + row[3] == Approx(1));
  CHECK(*std::min_element(row, row + 4) == Approx(0.05));
  // The label is the class with the greater share.
  CHECK(std::max_element(row, row + 4) - row == batch.labels.data<std::int64_t>()[0]);
  parts.model.train();
  const Tensor images = normalize_images(batch.images, parts.data.card.mean, parts.data.card.std);
  TrainParts same(fixture.options);
  double squares = 0, expected = 0;
  {
    Tape tape;
    const Variable loss = cross_entropy_soft(parts.model(images), batch.targets);
    expected = loss.data().item();
    tape.backward(loss);
    for (const Parameter* parameter : parts.model.parameters())
      for (const double value : parameter->grad.to_vector()) squares += value * value;
  }
  const StepResult result = same.trainer.step(batch);
  CHECK(result.loss == Approx(expected));
  CHECK(result.gradient_norm == Approx(std::sqrt(squares)).epsilon(1e-4));
  // By step, so also from the middle of an epoch.
  parts.loader.start(1, 3);
  same.loader.start(1, 3);
  const Batch a = *parts.loader.next(), b = *same.loader.next();
  CHECK(a.targets.to_vector() == b.targets.to_vector());
  CHECK(a.targets.to_vector() != batch.targets.to_vector());
  // The share of a picture's own is drawn anew in every step: the least of the largest targets shows it.
  std::set<double> shares;
  parts.loader.start(2);
  while (const auto each = parts.loader.next()) {
    double least = 1;
    for (std::int64_t n = 0; n < 16; ++n) {
      const float* target = each->targets.data<float>() + 4 * n;
      least = std::min<double>(least, *std::max_element(target, target + 4));
    }
    shares.insert(least);
  }
  CHECK(shares.size() > 5);
}

TEST_CASE("scripts/recipe/learning_rates_and_weight_decay") {
  Fixture fixture;
  fixture.options.warmup_epochs = 0;
  fixture.options.lr = 0.008;
  fixture.options.min_lr = 0.004;
  fixture.options.lr_base_size = 64;
  fixture.options.weight_decay = 0.1;
  fixture.options.weight_decay_end = 0.4;
  fixture.options.epochs = 1;
  {
    TrainParts parts(fixture.options);
    CHECK(parts.trainer.schedule().learning_rate(0) == Approx(0.002));  // 16 / 64
    CHECK(parts.trainer.schedule().learning_rate(1000) == Approx(0.001));
    CHECK(parts.describe().find("lr 0.002") != std::string::npos);
    const Batch batch = first_batch(parts);
    std::vector<double> scales;
    for (int step = 0; step < 10; ++step) {
      parts.trainer.step(batch);
      scales.push_back(parts.trainer.optimizer().weight_decay_scale());
    }
    CHECK(scales[0] == Approx(1));
    CHECK(scales[5] == Approx(2.5));
    CHECK(scales[9] == Approx((0.4 - 0.3 * (1 + std::cos(0.9 * M_PI)) / 2) / 0.1));
  }
  fixture.options.lr_base_size = 0;
  fixture.options.weight_decay = 0;
  fixture.options.weight_decay_end.reset();
  fixture.options.layer_decay = 0.1;  // stem 0.001, head 1
  TrainParts parts(fixture.options);
  const auto before = weights_of(parts);
  parts.trainer.step(first_batch(parts));
  const auto after = weights_of(parts);
  const auto moved = [&](const char* name) { return largest_change(before.at(name), after.at(name)); };
  // A first step of AdamW moves a weight by its learning rate.
  CHECK(moved("head.weight") == Approx(0.008).epsilon(0.01));
  CHECK(moved("stages.1.blocks.0.pw1.conv.weight") == Approx(0.0008).epsilon(0.01));
  CHECK(moved("transitions.0.0.conv.weight") == Approx(0.00008).epsilon(0.01));
  CHECK(moved("stem.0.conv.weight") == Approx(0.000008).epsilon(0.01));
}

TEST_CASE("scripts/recipe/betas_and_epsilon_reach_adamw") {
  Fixture fixture;
  const auto first_weight = [&](std::vector<double> betas, double eps) {
    fixture.options.betas = std::move(betas);
    fixture.options.opt_eps = eps;
    TrainParts parts(fixture.options);
    const Batch batch = first_batch(parts);
    for (int step = 0; step < 3; ++step) parts.trainer.step(batch);
    return weights_of(parts).at("head.weight")[0];
  };
  const double usual = first_weight({0.9, 0.999}, 1e-8);
  CHECK(first_weight({0.5, 0.999}, 1e-8) != usual);
  CHECK(first_weight({0.9, 0.5}, 1e-8) != usual);
  CHECK(first_weight({0.9, 0.999}, 1) != usual);
}

TEST_CASE("scripts/recipe/evaluation_crop") {
  Fixture fixture;
  const auto card = [&](std::int64_t size) {
    fixture.options.image_size = size;
    return open_train_data(fixture.options).card;
  };
  const auto resized = [](const ModelCard& c) {
    Random random(0);
    return evaluation_pipeline(c)(Image::filled(300, 400, 1), random);
  };
  CHECK_FALSE(card(0).keep_aspect);
  CHECK_FALSE(card(64).keep_aspect);  // these pictures are square: nothing to cut off
  CHECK(card(224).keep_aspect);
  CHECK(card(224).crop == 0.875);  // 224 of 256
  CHECK(card(320).crop == 0.875);
  CHECK_FALSE(card(384).keep_aspect);
  CHECK(resized(card(224)).width == 224);
  fixture.options.eval_crop = 0.5;
  fixture.options.interpolation = "bicubic";
  const ModelCard half = card(32);
  CHECK(half.keep_aspect);
  CHECK(half.bicubic);
  CHECK(card_from_json(to_json(half), "x").crop == 0.5);
  CHECK(card_from_json(to_json(half), "x").bicubic);
  // The middle half of the shorter side: a frame of a quarter all around disappears.
  Image framed = Image::filled(64, 64, 1, 255);
  for (std::int64_t y = 16; y < 48; ++y)
    for (std::int64_t x = 16; x < 48; ++x) framed.at(y, x, 0) = 0;
  Random random(0);
  const Image seen = evaluation_pipeline(half)(framed, random);
  CHECK(seen == Image::filled(32, 32, 1, 0));
  fixture.options.eval_crop = 0;
  CHECK_FALSE(card(224).keep_aspect);
  // Cards from before there were these fields.
  std::string old = to_json(half);
  old.replace(old.find("\"crop\":0.5,\"bicubic\":true,"), 26, "");
  CHECK(card_from_json(old, "x").crop == 1);
  CHECK_FALSE(card_from_json(old, "x").bicubic);
}

TEST_CASE("scripts/recipe/mean_and_deviation_may_be_given") {
  Fixture fixture;
  fixture.options.mean = {0.5};
  fixture.options.std = {0.25};
  const ModelCard card = open_train_data(fixture.options).card;
  CHECK(card.mean == std::vector<float>{0.5F});
  CHECK(card.std == std::vector<float>{0.25F});
  fixture.options.mean = fixture.options.std = {0.5, 0.5, 0.5};
  check_error([&] { open_train_data(fixture.options); }, {"--mean", "1 numbers", "got 3"});
}

TEST_CASE("scripts/recipe/augmentations_reach_the_pictures") {
  Fixture fixture;
  fixture.options.augment = {};
  const auto pixels = [&] {
    TrainParts parts(fixture.options);
    const Batch batch = first_batch(parts);
    const auto* bytes = batch.images.data<std::uint8_t>();
    return std::vector<std::uint8_t>(bytes, bytes + batch.images.numel());
  };
  const auto plain = pixels();
  fixture.options.aa = "rand-m9-mstd0.5-inc1";
  const auto augmented = pixels();
  CHECK(augmented != plain);
  CHECK(pixels() == augmented);
  fixture.options.interpolation = "bicubic";
  CHECK(pixels() != augmented);
  fixture.options.aa = "";
  fixture.options.interpolation = "bilinear";
  fixture.options.color_jitter = 0.4;
  CHECK(pixels() != plain);
  fixture.options.color_jitter = 0;
  fixture.options.augment = {"resized-crop"};
  const auto cropped = pixels();
  fixture.options.crop_scale = {0.9, 1};
  const auto less = pixels();
  CHECK(less != cropped);
  fixture.options.crop_ratio = {1, 1};
  CHECK(pixels() != less);
  fixture.options.augment = {"erase"};
  fixture.options.erase_prob = 1;
  const auto erased = pixels();
  fixture.options.erase_count = 3;
  CHECK(pixels() != erased);
}

TEST_CASE("scripts/recipe/pictures_of_batches") {
  Fixture fixture;
  fixture.options.mixup = 1;
  TrainParts parts(fixture.options);
  const Batch batch = first_batch(parts);
  const Image sheet = batch_sheet(batch, {"ant", "bee", "cat", "dog"});
  CHECK(sheet.width == 4 + 8 * 124);
  const auto path = fixture.folder / "batches" / "step_0001.png";
  save_batch_sheet(path, batch, {"ant", "bee", "cat", "dog"});
  CHECK(load_image(path) == sheet);
  Batch plain = batch;
  plain.targets = Tensor();
  CHECK(batch_sheet(plain, {"ant", "bee", "cat", "dog"}) != sheet);  // other captions
}
