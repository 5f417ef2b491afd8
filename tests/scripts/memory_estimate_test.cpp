#include "scripts/replk/memory_estimate.h"

#include <thread>

#include "core/parallel.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/normalize_images/normalize_images.h"
#include "scripts/replk/memory_report.h"
#include "scripts/replk/trainer.h"
#include "tests/scripts/train_command.h"

using namespace replk;
using namespace replk::test;

namespace {

constexpr std::int64_t kSide = 28, kClasses = 10;

MemoryQuestion question_for(const std::string& model, bool checkpointing = false) {
  MemoryQuestion question{.config = preset(model), .height = kSide, .width = kSide};
  question.config.in_channels = 1;
  question.config.num_classes = kClasses;
  question.config.use_checkpoint = checkpointing;
  return question;
}

Batch random_batch(std::int64_t images) {
  Batch batch;
  batch.images = Tensor::zeros({images, kSide, kSide, 1}, DType::u8);
  batch.labels = Tensor::zeros({images}, DType::i64);
  batch.indices.resize(static_cast<std::size_t>(images));
  Random random(1, 2);
  for (std::int64_t i = 0; i < batch.images.numel(); ++i)
    batch.images.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(random.below(256));
  for (std::int64_t i = 0; i < images; ++i)
    batch.labels.data<std::int64_t>()[i] = static_cast<std::int64_t>(random.below(kClasses));
  return batch;
}

// What the allocator of the CPU measures of `work`: its peak, above what is in use before. In a thread of its
// own, whose kernels keep no scratch from earlier tests, and with that one thread.
template <class F>
std::int64_t measured_peak(const F& work) {
  std::int64_t peak = 0;
  const int threads = num_threads();
  set_num_threads(1);
  std::thread([&] {
    Allocator& allocator = allocator_for(Device::cpu());
    const std::int64_t before = allocator.stats().in_use;
    allocator.reset_peak();
    work();
    peak = allocator.stats().peak - before;
  }).join();
  set_num_threads(threads);
  return peak;
}

std::int64_t measured_training(const MemoryQuestion& question, const TrainOptions& options) {
  ModelCard card;
  card.height = card.width = kSide;
  card.channels = 1;
  card.mean = {0.5f};
  card.std = {0.25f};
  return measured_peak([&] {
    RepLKNet model(question.config);
    Trainer trainer(model, options, card, 1);
    const Batch batch = random_batch(options.batch_size);
    trainer.step(batch);
    trainer.step(batch);
  });
}

// Estimates with one thread too.
template <class F>
auto with_one_thread(const F& estimate) {
  const int threads = num_threads();
  set_num_threads(1);
  const auto result = estimate();
  set_num_threads(threads);
  return result;
}

void check_training(const MemoryQuestion& question, const TrainOptions& options) {
  const TrainingMemory memory = with_one_thread([&] { return estimate_training(question, options); });
  const auto estimated = static_cast<double>(std::max(memory.step, memory.setup)),
             measured = static_cast<double>(measured_training(question, options));
  INFO(options.batch_size << " images in " << options.accumulate << ", " << options.optimizer << ", ema "
                          << options.ema << ", checkpointing " << question.config.use_checkpoint
                          << ": estimated " << estimated << ", measured " << measured);
  CHECK(estimated > 0.98 * measured);
  CHECK(estimated < 1.02 * measured);
  CHECK(memory.step == memory.parameters + memory.gradients + memory.optimizer + memory.averages +
                           memory.statistics + memory.batches + memory.activations + memory.workspace);
  for (const std::int64_t part : {memory.parameters, memory.gradients, memory.statistics, memory.batches,
                                  memory.activations, memory.workspace, memory.setup, memory.saving})
    CHECK(part > 0);
  CHECK((memory.averages > 0) == (options.ema > 0));
  std::int64_t stages = 0;
  for (const MemoryRow& stage : memory.stages) stages += stage.bytes;
  CHECK(stages == memory.activations);
}

TrainOptions options_for(std::int64_t batch_size, const std::string& optimizer) {
  TrainOptions options;
  options.batch_size = batch_size;
  options.optimizer = optimizer;
  options.workers = 0;  // the loader, which waits for nobody here, prepares nothing ahead
  return options;
}

}  // namespace

TEST_CASE("scripts/memory_estimate/training is what the allocator measures") {
  for (const char* model : {"replknet-nano", "replknet-tiny"})
    for (const bool checkpointing : {false, true})
      for (const std::int64_t batch_size : {4, 16, 33}) {
        INFO(model);
        const char* optimizer = batch_size == 16 ? "sgd" : "adamw";
        check_training(question_for(model, checkpointing), options_for(batch_size, optimizer));
      }
}

TEST_CASE("scripts/memory_estimate/parts, averages and mixed batches") {
  TrainOptions options = options_for(32, "sgd");
  options.accumulate = 4;
  options.ema = 0.99;
  check_training(question_for("replknet-nano"), options);
  const auto estimate = [&] { return estimate_training(question_for("replknet-nano"), options); };
  const TrainingMemory parts = estimate();
  options.accumulate = 1;
  CHECK(parts.activations * 3 < estimate().activations);
  options.mixup = 0.8;
  CHECK(estimate().batches > parts.batches);
  options.workers = 1;  // batches wait for their turn
  CHECK(estimate().batches > 3 * parts.batches);
  options.optimizer = "adamw";  // two moments in place of one
  CHECK(estimate().optimizer > 1.9 * static_cast<double>(parts.optimizer));
}

TEST_CASE("scripts/memory_estimate/a run needs what its hungriest part needs") {
  for (std::int64_t TrainingMemory::*part : {&TrainingMemory::step, &TrainingMemory::setup,
                                             &TrainingMemory::validation, &TrainingMemory::saving}) {
    TrainingMemory memory;
    memory.step = memory.setup = memory.validation = memory.saving = 1;
    memory.*part = 5;
    CHECK(memory.peak() == 5);
  }
}

TEST_CASE("scripts/memory_estimate/inference is what the allocator measures") {
  for (const char* model : {"replknet-nano", "replknet-tiny"})
    for (const std::int64_t batch_size : {1, 16, 100}) {
      const MemoryQuestion question = question_for(model);
      const auto estimated = with_one_thread([&] { return estimate_inference(question, batch_size); });
      const std::int64_t measured = measured_peak([&] {
        RepLKNet network(question.config);
        network.eval();
        std::vector<Batch> batches;  // the loader prepares ahead
        for (int i = 0; i < 5; ++i) batches.push_back(random_batch(batch_size));
        for (const Batch& batch : batches) {
          const float mean[] = {0.5f}, std[] = {0.25f};
          cross_entropy(network(normalize_images(batch.images, mean, std, DType::f32)), batch.labels);
        }
      });
      INFO(model << ", " << batch_size << ": estimated " << estimated.peak << ", measured " << measured);
      CHECK(static_cast<double>(estimated.peak) > 0.98 * static_cast<double>(measured));
      CHECK(static_cast<double>(estimated.peak) < 1.02 * static_cast<double>(measured));
      CHECK(estimated.peak == estimated.parameters + estimated.batches + estimated.workspace);
    }
}

// With all threads and the loader: the program's own measurement.
TEST_CASE("scripts/memory_estimate/the program measures the same") {
  const Fixture fixture;
  for (const Arguments& more : {Arguments{}, {"--checkpointing"}, {"--optimizer", "sgd", "--threads", "3"}}) {
    Arguments command = {"train",    "--data",        fixture.folder / "data",
                         "--model",  "replknet-nano", "--dry-run",
                         "--device", "cpu",           "--threads",
                         "2",        "--batch-size",  "150"};
    command.insert(command.end(), more.begin(), more.end());
    const Outcome outcome = run_replk(command);
    REQUIRE(outcome.code == 0);
    const std::size_t end = outcome.out.find("MB of memory"), begin = outcome.out.rfind(", ", end);
    REQUIRE(end != std::string::npos);
    const double measured = 1e6 * std::stod(outcome.out.substr(begin + 2));
    const int threads = num_threads();
    set_num_threads(more.size() > 2 ? 3 : 2);
    MemoryQuestion question = question_for("replknet-nano", more.size() == 1);
    question.height = question.width = 12;
    question.config.num_classes = 4;
    TrainOptions options;
    options.batch_size = 150;
    options.optimizer = more.size() > 2 ? "sgd" : "adamw";
    const TrainingMemory memory = estimate_training(question, options);
    set_num_threads(threads);
    const auto estimated = static_cast<double>(std::max(memory.step, memory.setup));
    INFO("estimated " << estimated << ", measured " << measured);
    CHECK(estimated > 0.9 * measured);
    CHECK(estimated < 1.1 * measured);
  }
}

// No such GPU is needed, nor the memory.
TEST_CASE("scripts/memory_estimate/large networks on a GPU") {
  MemoryQuestion question{
      .config = preset("replknet-31b"), .height = 224, .width = 224, .device = Device::cuda()};
  TrainOptions options;
  options.batch_size = 512;
  const TrainingMemory full = estimate_training(question, options);
  CHECK(full.step > std::int64_t{100} << 30);
  question.activations = DType::bf16;
  const TrainingMemory half = estimate_training(question, options);
  CHECK(half.activations < 0.6 * static_cast<double>(full.activations));
  CHECK(half.parameters == full.parameters);
  question.config.use_checkpoint = true;
  CHECK(estimate_training(question, options).activations < half.activations / 3);
}

TEST_CASE("scripts/memory_estimate/table") {
  const Outcome outcome = run_replk({"summary", "replknet-tiny", "--memory", "--batch-size", "64",
                                     "--image-size", "32", "--ema", "--accumulate", "2", "--checkpointing"});
  REQUIRE(outcome.code == 0);
  for (const char* part :
       {"batches of 64 images of 32x32x", "on the CPU, fp32, in 2 parts, with checkpointing", "gradients",
        "adamw", "averages", "kept for backward", "stages.0", "transitions.0", "workspace", "peak of a step",
        "largest layers", "validation", "32 images at a time", "saving", "inference", "MiB"}) {
    INFO(part);
    CHECK(contains(outcome.out, part));
  }
  const Outcome gpu =
      run_replk({"summary", "replknet-tiny", "--memory", "--precision", "bf16", "--optimizer", "sgd"});
  CHECK(gpu.code == 0);
  CHECK(contains(gpu.out, "batches of 128 images of 28x28x"));
  CHECK(contains(gpu.out, "on a GPU, bf16"));
  for (const Arguments& wrong : {Arguments{"--memory", "--optimizer", "adam"},
                                 {"--ema"},
                                 {"--checkpointing"},
                                 {"--memory", "--precision", "bf16", "--device", "cpu"}}) {
    Arguments command = {"summary", "replknet-tiny"};
    command.insert(command.end(), wrong.begin(), wrong.end());
    CHECK(run_replk(command).code == 2);
  }
}
