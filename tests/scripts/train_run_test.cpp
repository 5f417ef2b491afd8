#include "scripts/replk/train_run.h"

#include <sstream>

#include "io/safetensors.h"
#include "scripts/replk/command_line.h"
#include "tests/scripts/train_support.h"
#include "tests/support/catch.h"

using namespace replk;
using namespace replk::test;

// An interrupt may come when all steps of an epoch are done and its validation is not.
TEST_CASE("scripts/train_run/goes_on_with_the_validation_that_was_interrupted") {
  const TemporaryFolder folder;
  write_idx_dataset(folder / "data");
  TrainOptions options = small_options(folder / "data");
  options.epochs = 2;
  std::ostringstream out;
  Progress progress({.out = &out});
  const auto run = [&](const std::string& name, std::int64_t steps_before) {
    TrainParts parts(options);
    RunFolder::create(folder / name, "", "").write(kConfigFile, to_json(options));
    const RunFolder files = RunFolder::open(folder / name);
    if (steps_before > 0) {
      TrainState state{.batches = parts.loader.batches(), .images = parts.data.train->size()};
      parts.loader.start(0);
      for (; state.batch < steps_before; ++state.batch) {
        const StepResult result = parts.trainer.step(*parts.loader.next());
        state.loss_sum += result.loss * static_cast<double>(result.images);
        state.correct += result.correct;
        state.seen += result.images;
        state.seconds += 1;
      }
      save_train_state(files.file(kStateFile), parts.model, parts.trainer.optimizer(), state);
    }
    TrainParts fresh(options);
    TrainRun training(fresh, files, progress);
    if (steps_before > 0) training.resume();
    REQUIRE(training.run() == kExitOk);
    return files;
  };
  const RunFolder whole = run("whole", 0), half = run("half", 4), done = run("done", 10);
  for (const RunFolder* other : {&half, &done}) {
    CHECK(read_text(whole.file(kLastFile)) == read_text(other->file(kLastFile)));
    CHECK(read_text(whole.file(kBestFile)) == read_text(other->file(kBestFile)));
    const auto expected = read_metrics_jsonl(read_text(whole.file(kMetricsJsonl)), "whole");
    const auto rows = read_metrics_jsonl(read_text(other->file(kMetricsJsonl)), "other");
    REQUIRE(rows.size() == 2);
    CHECK(rows[0].train_loss == expected[0].train_loss);
    CHECK(rows[0].train_accuracy == expected[0].train_accuracy);
    CHECK(rows[1].val_loss == expected[1].val_loss);
  }
}

// Everything that a recipe may add to a run, interrupted in the middle of an epoch.
TEST_CASE("scripts/train_run/averages_and_mixed_batches_go_on_with_the_same_bits") {
  const TemporaryFolder folder;
  write_idx_dataset(folder / "data");
  TrainOptions options = small_options(folder / "data");
  options.epochs = 3;
  options.ema = 0.9;
  options.mixup = 0.8;
  options.cutmix = 1;
  options.aa = "rand-m9-mstd0.5-inc1";
  options.accumulate = 3;
  options.weight_decay_end = 0.2;
  options.layer_decay = 0.8;
  options.save_batches = 2;
  std::ostringstream out;
  Progress progress({.out = &out});
  const auto run = [&](const std::string& name, std::int64_t steps_before) {
    RunFolder::create(folder / name, "", "").write(kConfigFile, to_json(options));
    const RunFolder files = RunFolder::open(folder / name);
    if (steps_before > 0) {
      TrainParts parts(options);
      TrainState state{.batches = parts.loader.batches(), .images = parts.data.train->size()};
      parts.loader.start(0);
      for (; state.batch < steps_before; ++state.batch) {
        const StepResult result = parts.trainer.step(*parts.loader.next());
        state.loss_sum += result.loss * static_cast<double>(result.images);
        state.correct += result.correct;
        state.seen += result.images;
        state.seconds += 1;
      }
      save_train_state(files.file(kStateFile), parts.model, parts.trainer.optimizer(), state,
                       parts.trainer.ema());
    }
    TrainParts parts(options);
    TrainRun training(parts, files, progress);
    if (steps_before > 0) training.resume();
    REQUIRE(training.run() == kExitOk);
    return files;
  };
  const RunFolder whole = run("whole", 0), half = run("half", 4);
  for (const char* file : {kLastFile, kBestFile, kBestEmaFile}) {
    INFO(file);
    CHECK(read_text(whole.file(file)) == read_text(half.file(file)));
  }
  const auto rows = read_metrics_jsonl(read_text(half.file(kMetricsJsonl)), "half");
  REQUIRE(rows.size() == 3);
  CHECK(rows.back().val_loss_ema > 0);
  CHECK(rows.back().val_loss_ema != rows.back().val_loss);
  CHECK(out.str().find("averaged") != std::string::npos);
  CHECK(out.str().find(kBestEmaFile) != std::string::npos);
  CHECK(std::filesystem::exists(whole.path() / "batches" / "step_0001.png"));
  CHECK(std::filesystem::exists(whole.path() / "batches" / "step_0002.png"));
  CHECK_FALSE(std::filesystem::exists(whole.path() / "batches" / "step_0003.png"));
  // Statistics of batch norms are averaged too.
  const auto state = read_safetensors(half.file(kStateFile)).tensors;
  REQUIRE(state.contains("ema.stem.0.bn.running_mean"));
  CHECK(state.at("ema.stem.0.bn.running_mean").to_vector() !=
        state.at("model.stem.0.bn.running_mean").to_vector());
  // What was saved as the best average is what was measured.
  const TrainData data = open_train_data(options);
  double best = 0;
  for (const EpochMetrics& row : rows) best = std::max(best, row.val_accuracy_ema);
  CHECK(evaluate(*load_model(half.file(kBestEmaFile)), data.validation, data.card).accuracy == best);
}

TEST_CASE("scripts/train_run/without_validation_the_best_is_by_training_accuracy") {
  const TemporaryFolder folder;
  write_idx_dataset(folder / "data", 64);
  TrainOptions options = small_options(folder / "data");
  options.val_split = 0;
  std::ostringstream out;
  Progress progress({.out = &out});
  TrainParts parts(options);
  const RunFolder files = RunFolder::create(folder / "run", "", "");
  CHECK(TrainRun(parts, files, progress).run() == kExitOk);
  CHECK(std::filesystem::exists(files.file(kBestFile)));
  CHECK_FALSE(std::filesystem::exists(files.file(kConfusionFile)));
  CHECK(out.str().find("best training accuracy") != std::string::npos);
  CHECK(out.str().find("validation") == std::string::npos);
  const auto card = read_checkpoint(files.file(kBestFile)).card();
  CHECK(card.classes == std::vector<std::string>{"0", "1", "2", "3"});
}
