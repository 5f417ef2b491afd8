// --device and --precision, batches on their way to a device, steps that are finished later.
#include "scripts/replk/compute.h"

#include <cmath>

#include "core/precision.h"
#include "scripts/replk/evaluate.h"
#include "scripts/replk/train_parts.h"
#include "scripts/replk/train_state.h"
#include "tests/scripts/train_support.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"
#include "tests/support/cuda.h"
#include "tests/support/run_op.h"

using namespace replk;
using namespace replk::test;

namespace {

struct Fixture {
  TemporaryFolder folder;
  TrainOptions options;

  Fixture() {
    write_idx_dataset(folder / "data");
    options = small_options(folder / "data");
    options.augment = {"flip", "crop"};
  }
};

TrainOptions on(TrainOptions options, const std::string& device, const std::string& precision = "fp32") {
  options.device = device, options.precision = precision;
  return options;
}

// The losses of `count` steps, at most `ahead` of them launched before the first is finished.
std::vector<double> losses_of(TrainParts& parts, int count, std::size_t ahead) {
  std::vector<double> losses;
  Trainer& trainer = parts.trainer;
  const auto finish_down_to = [&](std::size_t left) {
    while (trainer.in_flight() > left) losses.push_back(trainer.finish().loss);
  };
  for (int epoch = 0; static_cast<int>(losses.size() + trainer.in_flight()) < count; ++epoch) {
    parts.loader.start(epoch);
    BatchFeed feed(parts.loader, parts.compute.device);
    while (auto batch = feed.next()) {
      trainer.start(std::move(*batch));
      finish_down_to(ahead);
      if (static_cast<int>(losses.size() + trainer.in_flight()) == count) break;
    }
  }
  finish_down_to(0);
  return losses;
}

Values all_weights(TrainParts& parts) {
  Values values;
  for (const NamedTensor& entry : parts.model.state())
    for (const double value : entry.tensor.to_vector()) values.push_back(value);
  return values;
}

}  // namespace

TEST_CASE("scripts/compute/names") {
  CHECK_NOTHROW(validate(ComputeFlags{"auto", "fp32"}));
  CHECK_NOTHROW(validate(ComputeFlags{"cuda", "bf16"}));
  check_error(
      [] {
        validate(ComputeFlags{"gpu", "fp32"});
      },
      {"--device", "auto, cpu or cuda", "'gpu'", "'cpu'"});
  check_error(
      [] {
        validate(ComputeFlags{"auto", "fp23"});
      },
      {"--precision", "fp32, tf32 or bf16", "'fp23'", "Did you mean 'fp32'"});
  check_error(
      [] {
        validate(ComputeFlags{"cpu", "bf16"});
      },
      {"--precision", "fp32 expected on the CPU", "bf16"});
  const Compute compute = resolve_compute({"cpu", "fp32"});
  CHECK(compute.device == Device::cpu());
  CHECK(compute.activations == DType::f32);
  CHECK(compute.describe().starts_with("the CPU with "));
}

TEST_CASE("scripts/compute/a machine without a GPU says so") {
  if (cuda_available()) return;
  CHECK(resolve_compute({"auto", "fp32"}).device == Device::cpu());
  check_error(
      [] {
        resolve_compute({"cuda", "fp32"});
      },
      {"--device cuda", cuda_unavailable_reason(), "--device cpu"});
  check_error(
      [] {
        resolve_compute({"auto", "bf16"});
      },
      {"--precision bf16", "needs a GPU", cuda_unavailable_reason()});
  const Outcome outcome = run_replk({"train", "--device", "cuda", "--dry-run"});
  CHECK(outcome.code != 0);
  CHECK(outcome.err.find("--device cuda: ") != std::string::npos);
}

TEST_CASE("scripts/compute/batch_feed hands out what the loader has") {
  Fixture fixture;
  for (const Device device : {Device::cpu(), Device::cuda()}) {
    if (!device.is_cpu() && !cuda_or_skip("batch feed")) continue;
    TrainParts a(fixture.options), b(fixture.options);
    a.loader.start(1, 2), b.loader.start(1, 2);
    BatchFeed feed(a.loader, device);
    std::int64_t batches = 0;
    while (const auto expected = b.loader.next()) {
      const auto got = feed.next();
      REQUIRE(got);
      CHECK(got->images.device() == device);
      CHECK(same_bits(got->images, expected->images));
      CHECK(same_bits(got->labels, expected->labels));
      CHECK(got->host.indices == expected->indices);
      ++batches;
    }
    CHECK(!feed.next());
    CHECK(!feed.next());
    CHECK(batches == a.loader.batches() - 2);
  }
}

TEST_CASE("scripts/compute/steps finished later are the same steps") {
  Fixture fixture;
  for (const std::string device : {"cpu", "cuda"}) {
    if (device == "cuda" && !cuda_or_skip("steps in flight")) continue;
    TrainParts a(on(fixture.options, device)), b(on(fixture.options, device));
    const std::vector<double> at_once = losses_of(a, 25, 0), later = losses_of(b, 25, 2);
    CHECK(at_once.size() == 25);
    CHECK(at_once == later);
    CHECK(all_weights(a) == all_weights(b));
  }
}

TEST_CASE("scripts/compute/finish without a step") {
  Fixture fixture;
  TrainParts parts(fixture.options);
  check_error([&] { parts.trainer.finish(); }, {"Trainer::finish", "there is none"});
}

TEST_CASE("scripts/compute/a step that goes wrong is explained though the next one was started") {
  Fixture fixture;
  for (const std::string device : {"cpu", "cuda"}) {
    if (device == "cuda" && !cuda_or_skip("a NaN in flight")) continue;
    TrainParts parts(on(fixture.options, device));
    parts.loader.start(0);
    const Tensor before = parts.model.parameters().front()->data.clone();
    for (Parameter* parameter : parts.model.parameters())
      if (parameter->name == "stages.1.blocks.0.pw1.conv.weight") parameter->data.fill(std::nan(""));
    for (int i = 0; i < 2; ++i) parts.trainer.start(on_device(*parts.loader.next(), parts.compute.device));
    check_error([&] { parts.trainer.finish(); },
                {"step 1: the loss is nan", "is not finite is stages.1.blocks.0.pw1.conv ("});
    CHECK(same_bits(before, parts.model.parameters().front()->data));
  }
}

TEST_CASE("scripts/compute/training on a GPU") {
  if (!cuda_or_skip("training")) return;
  Fixture fixture;
  TrainParts cpu(fixture.options);
  const std::vector<double> reference = losses_of(cpu, 60, 0);
  // Rounding grows from step to step: the first ones agree closely, later ones in where they go.
  const std::vector<std::pair<std::string, double>> precisions = {
      {"fp32", 1e-4}, {"tf32", 5e-3}, {"bf16", 3e-2}};
  for (const auto& [precision, tolerance] : precisions) {
    INFO(precision);
    TrainParts gpu(on(fixture.options, "cuda", precision)), again(on(fixture.options, "cuda", precision));
    CHECK(gpu.model.device() == Device::cuda());
    const std::vector<double> losses = losses_of(gpu, 60, 1);
    CHECK(losses == losses_of(again, 60, 1));
    CHECK(all_weights(gpu) == all_weights(again));
    for (std::size_t i = 0; i < 3; ++i) CHECK(losses[i] == Approx(reference[i]).epsilon(tolerance));
    double mean = 0, expected = 0;
    for (std::size_t i = 40; i < 60; ++i) mean += losses[i] / 20, expected += reference[i] / 20;
    CHECK(mean == Approx(expected).margin(0.15));
    for (Parameter* parameter : gpu.model.parameters()) CHECK(parameter->data.dtype() == DType::f32);
  }
  set_precision(Precision::fp32);
}

TEST_CASE("scripts/compute/a recorded step is the step") {
  if (!cuda_or_skip("recorded steps")) return;
  Fixture fixture;
  TrainOptions mixed = on(fixture.options, "cuda", "bf16"), parts = on(fixture.options, "cuda"), sgd = parts;
  mixed.mixup = 0.8, mixed.cutmix = 1, mixed.ema = 0.9, mixed.weight_decay_end = 0.2;
  parts.accumulate = 2, parts.ema = 0.9, parts.checkpointing = true;
  sgd.optimizer = "sgd", sgd.layer_decay = 0.8, sgd.clip_grad = 0;
  for (TrainOptions options : {on(fixture.options, "cuda"), mixed, parts, sgd}) {
    TrainParts recorded(options);
    options.cuda_graph = "off";
    TrainParts launched(options);
    CHECK(losses_of(recorded, 12, 1) == losses_of(launched, 12, 1));
    for (std::size_t i = 0; i < recorded.model.state().size(); ++i) {
      const NamedTensor a = recorded.model.state()[i], b = launched.model.state()[i];
      INFO(a.name);
      CHECK(same_bits(a.tensor, b.tensor));
    }
    const auto state = recorded.trainer.optimizer().state(), expected = launched.trainer.optimizer().state();
    for (const auto& [name, tensor] : expected) {
      INFO(name);
      CHECK(same_bits(state.at(name), tensor));
    }
    if (!recorded.trainer.ema()) continue;
    const auto average = recorded.trainer.ema()->state();
    for (const auto& [name, tensor] : launched.trainer.ema()->state())
      CHECK(same_bits(average.at(name), tensor));
  }
  set_precision(Precision::fp32);
}

TEST_CASE("scripts/compute/evaluation and checkpoints travel between devices") {
  if (!cuda_or_skip("evaluation")) return;
  Fixture fixture;
  TrainParts gpu(on(fixture.options, "cuda"));
  losses_of(gpu, 30, 1);
  save_checkpoint(fixture.folder / "a.safetensors", gpu.model);
  const auto cpu = load_model(fixture.folder / "a.safetensors");
  const Evaluation there = evaluate(gpu.model, gpu.data.validation, gpu.data.card, {.batch_size = 16}),
                   here = evaluate(*cpu, gpu.data.validation, gpu.data.card, {.batch_size = 16});
  CHECK(there.loss == Approx(here.loss).epsilon(1e-5));
  CHECK(there.confusion == here.confusion);
  const Evaluation narrow =
      evaluate(gpu.model, gpu.data.validation, gpu.data.card, {.activations = DType::bf16});
  CHECK(narrow.loss == Approx(here.loss).epsilon(3e-2));

  TrainState state{.batches = gpu.loader.batches(), .images = gpu.data.train->size()};
  state.epoch = 30 / state.batches, state.batch = 30 % state.batches;
  state.history.resize(static_cast<std::size_t>(state.epoch));
  save_train_state(fixture.folder / "s.safetensors", gpu.model, gpu.trainer.optimizer(), state);
  TrainParts back(on(fixture.options, "cuda"));
  load_train_state(fixture.folder / "s.safetensors", back.model, back.trainer.optimizer());
  CHECK(all_weights(back) == all_weights(gpu));
  gpu.loader.start(5), back.loader.start(5);
  CHECK(gpu.trainer.step(*gpu.loader.next()).loss == back.trainer.step(*back.loader.next()).loss);
  CHECK(all_weights(back) == all_weights(gpu));
}
