#include "scripts/replk/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>

#include "core/parallel.h"
#include "io/safetensors.h"
#include "scripts/replk/train_parts.h"
#include "scripts/replk/train_state.h"
#include "tests/scripts/train_support.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

void check_same_state(TrainParts& a, TrainParts& b) {
  const auto weights = a.model.state(), others = b.model.state();
  REQUIRE(weights.size() == others.size());
  for (std::size_t i = 0; i < weights.size(); ++i) {
    INFO(weights[i].name);
    CHECK(same_bits(weights[i].tensor, others[i].tensor));
  }
  const auto state = b.trainer.optimizer().state();
  for (const auto& [name, tensor] : a.trainer.optimizer().state()) {
    INFO(name);
    CHECK(same_bits(tensor, state.at(name)));
  }
}

// Steps `count` of the epochs, beginning at step `first`.
void train_steps(TrainParts& parts, std::int64_t first, std::int64_t count) {
  const std::int64_t batches = parts.loader.batches();
  for (std::int64_t step = first; step < first + count; ++step) {
    if (step == first || step % batches == 0) parts.loader.start(step / batches, step % batches);
    parts.trainer.step(*parts.loader.next());
  }
}

Parameter& parameter(TrainParts& parts, const std::string& name) {
  for (Parameter* candidate : parts.model.parameters())
    if (candidate->name == name) return *candidate;
  throw Error("no parameter " + name);
}

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const NonFiniteError& error) {
    return error.what();
  }
  return "none";
}

struct Fixture {
  TemporaryFolder folder;
  TrainOptions options;
  Fixture() : options(small_options(folder / "data")) { write_idx_dataset(folder / "data"); }
};

}  // namespace

TEST_CASE("scripts/trainer/data_are_split_and_described") {
  Fixture fixture;
  const TrainData data = open_train_data(fixture.options);
  CHECK(data.train->size() == 160);
  CHECK(data.validation->size() == 40);
  CHECK(data.card.classes.size() == 4);
  CHECK(data.card.height == 12);
  CHECK(data.card.channels == 1);
  CHECK(data.card.mean[0] == Approx((60 + 20) / 255.0).margin(0.01));
  CHECK_FALSE(data.card.keep_aspect);

  fixture.options.limit = 50;
  CHECK(open_train_data(fixture.options).train->size() == 50);
  CHECK(open_train_data(fixture.options).validation->size() == 40);
  fixture.options.val_split = 0;
  CHECK(open_train_data(fixture.options).validation == nullptr);
  fixture.options.val_split = 0.25;
  fixture.options.limit = 0;
  CHECK(open_train_data(fixture.options).validation->size() == 50);
  fixture.options.val_split = 200;
  CHECK_THROWS_AS(open_train_data(fixture.options), UsageError);
  check_error([&] { open_train_data(fixture.options); }, {"--val-split", "200"});
}

TEST_CASE("scripts/trainer/image_size_and_augmentation") {
  Fixture fixture;
  fixture.options.image_size = 20;
  for (const char* name : {"flip", "crop", "erase", "resized-crop"}) {
    fixture.options.augment = {name};
    TrainParts parts(fixture.options);
    parts.loader.start(0);
    CHECK(parts.loader.next()->images.shape() == Shape{16, 20, 20, 1});
    CHECK(parts.data.card.width == 20);
  }
}

TEST_CASE("scripts/trainer/networks_that_do_not_fit_the_data_are_refused") {
  Fixture fixture;
  const ModelCard card = open_train_data(fixture.options).card;
  const auto refused = [&](const char* json, const std::vector<std::string>& parts) {
    fixture.options.model_config = json;
    CHECK_THROWS_AS(network_for(fixture.options, card), UsageError);
    check_error([&] { network_for(fixture.options, card); }, parts);
  };
  refused(R"({"in_channels": 3})", {"in_channels 1"});
  refused(R"({"num_classes": 10})", {"num_classes 4"});
  refused(R"({"batch_norm_folded": true})", {"merged"});
  refused(R"({"layers": [1]})", {"--model-config", "layers"});
  refused(R"({"chanels": [1]})", {"'channels'"});
  fixture.options.model_config.clear();
  fixture.options.drop_path = 0.75;
  CHECK(network_for(fixture.options, card).drop_path_rate == 0.75);
  CHECK(network_for(fixture.options, card).num_classes == 4);
}

TEST_CASE("scripts/trainer/a_step_learns_and_reports") {
  Fixture fixture;
  fixture.options.schedule = "constant";
  fixture.options.warmup_epochs = 0;
  TrainParts parts(fixture.options);
  CHECK(parts.loader.batches() == 10);
  parts.loader.start(0);
  const Batch batch = *parts.loader.next();
  const StepResult first = parts.trainer.step(batch);
  CHECK(first.images == 16);
  CHECK(first.lr == fixture.options.lr);
  CHECK(first.loss == Approx(std::log(4)).epsilon(0.3));
  CHECK(first.gradient_norm > 0);
  StepResult last;
  for (int i = 0; i < 60; ++i) last = parts.trainer.step(batch);
  CHECK(last.loss < first.loss / 2);
  CHECK(last.correct >= 14);
}

TEST_CASE("scripts/trainer/sgd_and_every_schedule") {
  Fixture fixture;
  fixture.options.optimizer = "sgd";
  fixture.options.step_epochs = 1;
  fixture.options.warmup_epochs = 0.5;
  for (const char* schedule : {"step", "constant", "cosine"}) {
    fixture.options.schedule = schedule;
    TrainParts parts(fixture.options);
    train_steps(parts, 0, 1);
    CHECK(parts.trainer.schedule().learning_rate(0) == Approx(fixture.options.lr / 5));
    const double later = parts.trainer.schedule().learning_rate(25);
    if (std::string(schedule) == "step") CHECK(later == Approx(fixture.options.lr / 100));
    if (std::string(schedule) == "constant") CHECK(later == fixture.options.lr);
  }
}

TEST_CASE("scripts/trainer/resume_is_bit_exact") {
  Fixture fixture;
  for (const char* optimizer : {"adamw", "sgd"}) {
    fixture.options.optimizer = optimizer;
    fixture.options.workers = 1;
    fixture.options.threads = 1;
    TrainParts whole(fixture.options);
    train_steps(whole, 0, 25);

    TrainParts first(fixture.options);
    train_steps(first, 0, 13);  // into the second epoch of ten steps
    const auto path = fixture.folder / (std::string(optimizer) + ".safetensors");
    const TrainState state{.epoch = 1,
                           .batch = 3,
                           .batches = 10,
                           .images = 160,
                           .loss_sum = 0.1,
                           .seconds = 1,
                           .correct = 2,
                           .seen = 3,
                           .best_accuracy = 1.0 / 3,
                           .best_epoch = 1,
                           .history = {{.epoch = 1, .val_loss = kNan}}};
    save_train_state(path, first.model, first.trainer.optimizer(), state);

    fixture.options.workers = 2;
    TrainParts second(fixture.options);
    const TrainState back = load_train_state(path, second.model, second.trainer.optimizer());
    CHECK(back.epoch == 1);
    CHECK(back.batch == 3);
    CHECK(back.loss_sum == 0.1);
    CHECK(back.best_accuracy == 1.0 / 3);
    CHECK(metrics_jsonl(back.history) == metrics_jsonl(state.history));
    check_same_state(first, second);
    const int threads = num_threads();
    set_num_threads(3);
    train_steps(second, 13, 12);
    set_num_threads(threads);
    check_same_state(whole, second);
  }
}

TEST_CASE("scripts/trainer/states_that_do_not_fit_are_refused") {
  Fixture fixture;
  TrainParts parts(fixture.options);
  const auto path = fixture.folder / "state.safetensors";
  const TrainState state{.batches = 10, .images = 160};
  save_train_state(path, parts.model, parts.trainer.optimizer(), state);
  const Safetensors good = read_safetensors(path);
  const auto refused = [&](const std::function<void(Safetensors&)>& spoil, std::vector<std::string> what) {
    Safetensors file = good;
    spoil(file);
    write_safetensors(path, file.tensors, file.metadata);
    what.push_back("state.safetensors");
    CHECK_THROWS_AS(load_train_state(path, parts.model, parts.trainer.optimizer()), FileError);
    check_error([&] { load_train_state(path, parts.model, parts.trainer.optimizer()); }, what);
  };
  const auto replaced = [&](const std::string& from, const std::string& to) {
    return [=](Safetensors& file) {
      std::string& text = file.metadata.at("state");
      const auto at = text.find(from);
      REQUIRE(at != std::string::npos);
      text.replace(at, from.size(), to);
    };
  };
  refused([](Safetensors& f) { f.metadata["format"] = "replk-checkpoint-1"; }, {"format"});
  refused([](Safetensors& f) { f.metadata["config"] = to_json(preset("replknet-tiny")); }, {"config"});
  refused([](Safetensors& f) { f.metadata["state"] = "{"; }, {"state"});
  refused([](Safetensors& f) { f.metadata.erase("state"); }, {"state"});
  refused(replaced("\"epoch\":0", "\"epoch\":1"), {"epoch 1"});
  refused(replaced("\"batch\":0", "\"batch\":11"), {"batch 11"});
  refused(replaced("\"batch\":0", "\"batch\":-1"), {"batch -1"});
  refused(replaced("\"batch\":0", "\"batch\":2"), {"step 0"});
  refused(replaced("\"batches\":10", "\"batches\":0"), {"state"});
  refused(replaced("\"history\":\"\"", "\"history\":\"x\""), {"history"});
  refused([](Safetensors& f) { f.tensors.erase("model.head.weight"); }, {"head.weight"});
  refused([](Safetensors& f) { f.tensors.erase("optimizer.step"); }, {"step"});
  refused([](Safetensors& f) { f.tensors["optimizer.exp_avg.head.weight"] = Tensor::zeros({1}); },
          {"exp_avg.head.weight"});
}

TEST_CASE("scripts/trainer/the_first_layer_that_is_not_finite_is_named") {
  Fixture fixture;
  for (const char* name : {"stages.1.blocks.0.pw1.conv", "stem.0.bn", "head"}) {
    TrainParts parts(fixture.options);
    train_steps(parts, 0, 1);
    parameter(parts, std::string(name) + ".weight").data.fill(kNan);
    const auto before = parts.trainer.optimizer().state();
    const auto bias = parameter(parts, "head.bias").data.clone();
    parts.loader.start(0);
    const Batch batch = *parts.loader.next();
    const std::string message = error_of([&] { parts.trainer.step(batch); });
    INFO(message);
    CHECK(message.find("step 2: the loss is nan") != std::string::npos);
    CHECK(message.find(std::string("is not finite is ") + name + " (") != std::string::npos);
    CHECK(message.find(std::string(name) + ".weight is not finite already") != std::string::npos);
    CHECK(message.find("input is not finite") == std::string::npos);
    // Neither weights nor the optimizer's buffers have moved.
    CHECK(same_bits(bias, parameter(parts, "head.bias").data));
    CHECK(
        same_bits(before.at("exp_avg.head.bias"), parts.trainer.optimizer().state().at("exp_avg.head.bias")));
  }
}

TEST_CASE("scripts/trainer/validation_that_is_not_finite_is_explained") {
  Fixture fixture;
  TrainParts parts(fixture.options);
  for (const NamedTensor& entry : parts.model.state())
    if (entry.name == "stages.0.blocks.1.pw1.bn.running_mean") Tensor(entry.tensor).fill(kNan);
  train_steps(parts, 0, 0);
  const std::string message =
      error_of([&] { parts.trainer.explain_validation(parts.data.validation, kNan); });
  INFO(message);
  CHECK(message.find("validation loss is nan") != std::string::npos);
  CHECK(message.find("is not finite is stages.0.blocks.1.pw1.bn (") != std::string::npos);
}

TEST_CASE("scripts/trainer/drop_path_is_drawn_anew_in_every_step_and_for_every_seed") {
  Fixture fixture;
  fixture.options.lr = 0;         // the weights stay as they are
  fixture.options.val_split = 0;  // all images, so that mean and deviation stay too
  fixture.options.drop_path = 0.5;
  std::vector<double> losses;
  for (const std::int64_t seed : {0, 1}) {
    fixture.options.seed = seed;
    TrainParts parts(fixture.options);
    TrainParts same(fixture.options);
    fixture.options.seed = 0;  // one batch and one network for both
    TrainParts data(fixture.options);
    data.loader.start(0);
    const Batch batch = *data.loader.next();
    for (const NamedTensor& entry : data.model.state())
      for (TrainParts* target : {&parts, &same})
        for (const NamedTensor& own : target->model.state())
          if (own.name == entry.name) Tensor(own.tensor).copy_from(entry.tensor);
    for (int step = 0; step < 3; ++step) {
      losses.push_back(parts.trainer.step(batch).loss);
      CHECK(same.trainer.step(batch).loss == losses.back());
    }
  }
  std::sort(losses.begin(), losses.end());
  CHECK(std::unique(losses.begin(), losses.end()) - losses.begin() > 3);
}

TEST_CASE("scripts/trainer/a_gradient_that_is_not_finite_is_named") {
  Fixture fixture;
  for (const double clip : {0.0, 1.0}) {
    fixture.options.clip_grad = clip;
    TrainParts parts(fixture.options);
    // Forward the two cancel, and the answer is always class 0. Backward the gradient of norm.bias is about
    // 2 * 3e38 times the share of pictures of other classes, more than a float holds.
    parameter(parts, "norm.weight").data.fill(1e-38);
    parameter(parts, "head.bias").data.data<float>()[0] = 1000;
    Tensor& head = parameter(parts, "head.weight").data;
    head.fill(-3e38);
    head.slice(0, 1).fill(3e38);
    const Tensor stem = parts.model.parameters().front()->data.clone();
    parts.loader.start(0);
    const Batch batch = *parts.loader.next();
    const std::string message = error_of([&] { parts.trainer.step(batch); });
    INFO(message);
    CHECK(message.find("the norm of the gradients is") != std::string::npos);
    CHECK(message.find("that of norm.") != std::string::npos);
    CHECK(same_bits(stem, parts.model.parameters().front()->data));
  }
}

TEST_CASE("scripts/trainer/weights_are_checked_before_they_are_saved") {
  Fixture fixture;
  TrainParts parts(fixture.options);
  CHECK_NOTHROW(parts.trainer.check_weights());
  for (const NamedTensor& entry : parts.model.state())
    if (entry.name == "stem.0.bn.running_var") Tensor(entry.tensor).fill(INFINITY);
  CHECK(error_of([&] { parts.trainer.check_weights(); }).find("stem.0.bn.running_var is not finite") !=
        std::string::npos);
}
