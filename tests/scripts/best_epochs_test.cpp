// --patience: when a run ends early, and how it goes on. --keep: checkpoints of the best epochs.
#include "scripts/replk/best_epochs.h"

#include <cmath>
#include <regex>

#include "scripts/replk/checkpoint.h"
#include "scripts/replk/evaluate.h"
#include "scripts/replk/train_data.h"
#include "tests/scripts/train_command.h"

using namespace replk;
using namespace replk::test;
namespace fs = std::filesystem;

namespace {

std::vector<EpochMetrics> history_of(const std::vector<double>& accuracies,
                                     const std::vector<double>& averaged = {}) {
  std::vector<EpochMetrics> rows;
  for (std::size_t i = 0; i < accuracies.size(); ++i) {
    rows.push_back({.epoch = static_cast<std::int64_t>(i) + 1, .val_accuracy = accuracies[i]});
    if (!averaged.empty()) rows.back().val_accuracy_ema = averaged[i];
  }
  return rows;
}

std::vector<EpochMetrics> metrics_of(const fs::path& run) {
  return read_metrics_jsonl(read_text(run / kMetricsJsonl), run.string());
}

// The epochs that have a checkpoint of their own, in rising order.
std::vector<std::int64_t> epoch_files(const fs::path& run) {
  std::vector<std::int64_t> epochs;
  const std::regex form("epoch_([0-9]{4,})\\.safetensors");
  for (const auto& entry : fs::directory_iterator(run)) {
    std::smatch match;
    const std::string name = entry.path().filename();
    if (std::regex_match(name, match, form) && std::stoll(match[1]) > 0)
      epochs.push_back(std::stoll(match[1]));
  }
  std::sort(epochs.begin(), epochs.end());
  return epochs;
}

}  // namespace

TEST_CASE("scripts/best_epochs/epochs_without_gain") {
  CHECK(epochs_without_gain({}) == 0);
  CHECK(epochs_without_gain(history_of({0})) == 0);
  CHECK(epochs_without_gain(history_of({0.5, 0.6, 0.7})) == 0);
  CHECK(epochs_without_gain(history_of({0.5, 0.7, 0.6, 0.7})) == 2);  // as good is not better
  CHECK(epochs_without_gain(history_of({0.5, 0.4, 0.3, 0.45})) == 3);
  // The average of the weights still gets better.
  CHECK(epochs_without_gain(history_of({0.5, 0.4, 0.4}, {0.1, 0.2, 0.3})) == 0);
  CHECK(epochs_without_gain(history_of({0.5, 0.4, 0.4}, {0.1, 0.2, 0.2})) == 1);
}

TEST_CASE("scripts/best_epochs/patience_ends_a_run_that_goes_on_with_the_same_bits") {
  const Fixture fixture;
  // Without a learning rate only the statistics of batch norms move, and they settle.
  const Arguments options = {"--lr", "0", "--epochs", "30", "--save-every", "100"};
  Arguments patient = options;
  patient.insert(patient.end(), {"--patience", "3"});
  const Outcome stopped = run_replk(fixture.train("run", patient));
  INFO(stopped.err << stopped.out);
  REQUIRE(stopped.code == 0);
  const fs::path run = fixture.run("run");
  const auto rows = metrics_of(run);
  std::size_t best = 0;
  for (std::size_t i = 0; i < rows.size(); ++i)
    if (rows[i].val_accuracy > rows[best].val_accuracy) best = i;
  REQUIRE(rows.size() < 30);
  CHECK(rows.size() == best + 1 + 3);
  const std::string reason = "stopped early: no better validation accuracy in 3 epochs (--patience 3)";
  CHECK(contains(stopped.out, reason));
  CHECK(contains(stopped.out, "best validation accuracy"));
  // Resumed, it says so again and changes nothing.
  const auto before = contents(run);
  const Outcome again = run_replk({"train", "--resume", run});
  CHECK(again.code == 0);
  CHECK(contains(again.out, reason));
  CHECK(contents(run) == before);
  // With other patience it goes on where it stopped.
  const Outcome rest = run_replk({"train", "--resume", run, "--patience", "0"});
  CHECK(rest.code == 0);
  CHECK_FALSE(contains(rest.out, "stopped early"));
  REQUIRE(run_replk(fixture.train("whole", options)).code == 0);
  CHECK(metrics_of(run).size() == 30);
  CHECK(read_text(run / kLastFile) == read_text(fixture.run("whole") / kLastFile));
}

TEST_CASE("scripts/best_epochs/patience_needs_validation_images") {
  const Fixture fixture;
  const Outcome outcome = run_replk(fixture.train("run", {"--patience", "2", "--val-split", "0"}));
  CHECK(outcome.code == 2);
  check_one_line(outcome);
  CHECK(contains(outcome.err, "--patience"));
  CHECK(contains(outcome.err, "--val-split"));
  CHECK_FALSE(fs::exists(fixture.run("run")));
}

TEST_CASE("scripts/best_epochs/best_epochs") {
  using Epochs = std::vector<std::int64_t>;
  const auto history = history_of({0.3, 0.9, 0.5, 0.9, 0.7});
  CHECK(best_epochs(history, 0).empty());
  CHECK(best_epochs(history, 1) == Epochs{2});  // of equal ones the earlier
  CHECK(best_epochs(history, 3) == Epochs{2, 4, 5});
  CHECK(best_epochs(history, 9) == Epochs{1, 2, 3, 4, 5});
  CHECK(best_epochs({}, 2).empty());
  auto unvalidated = history_of({NAN, NAN, NAN});
  unvalidated[1].train_accuracy = 0.5;
  CHECK(best_epochs(unvalidated, 1) == Epochs{2});
}

TEST_CASE("scripts/best_epochs/files_of_other_epochs_are_removed_and_nothing_else") {
  const TemporaryFolder folder;
  const RunFolder run = RunFolder::create(folder / "run", "", "");
  CHECK(run.epoch_file(12).filename() == "epoch_0012.safetensors");
  CHECK(run.epoch_file(12345).filename() == "epoch_12345.safetensors");
  const std::vector<std::string> others = {"epoch_2.safetensors",       "epoch_0002.safetensors.bak",
                                           "my_epoch_0002.safetensors", "epoch_0000.safetensors",
                                           "epoch_best.safetensors",    "best.safetensors"};
  for (const std::string& name : others) write_text(run.path() / name, "x");
  for (const int epoch : {1, 2, 3, 12345}) write_text(run.epoch_file(epoch), "x");
  run.remove_epoch_files_except({2, 7});
  for (const std::string& name : others) CHECK(fs::exists(run.path() / name));
  CHECK(epoch_files(run.path()) == std::vector<std::int64_t>{2});
  CHECK_FALSE(fs::exists(run.epoch_file(12345)));
}

TEST_CASE("scripts/best_epochs/checkpoints_of_the_best_epochs_are_kept_across_resume") {
  const Fixture fixture;
  const Arguments options = {"--epochs", "8", "--keep", "3"};
  REQUIRE(run_replk(fixture.train("whole", options)).code == 0);
  const fs::path whole = fixture.run("whole"), parts = fixture.run("parts");
  const auto rows = metrics_of(whole);
  CHECK(epoch_files(whole) == best_epochs(rows, 3));
  // Every one holds the weights of its epoch: measured again they give its row of the metrics.
  TrainOptions used;
  read_train_options(used, read_text(whole / kConfigFile), "");
  const TrainData data = open_train_data(used);
  for (const std::int64_t epoch : best_epochs(rows, 3)) {
    const auto model = load_model(RunFolder::open(whole).epoch_file(epoch));
    CHECK(evaluate(*model, data.validation, data.card).accuracy ==
          rows[static_cast<std::size_t>(epoch) - 1].val_accuracy);
  }
  Arguments half = options;
  half.insert(half.end(), {"--stop-after", "4"});
  REQUIRE(run_replk(fixture.train("parts", half)).code == 0);
  CHECK(epoch_files(parts) == best_epochs({rows.begin(), rows.begin() + 4}, 3));
  REQUIRE(run_replk({"train", "--resume", parts}).code == 0);
  CHECK(epoch_files(parts) == epoch_files(whole));
  for (const std::int64_t epoch : epoch_files(whole))
    CHECK(read_text(RunFolder::open(parts).epoch_file(epoch)) ==
          read_text(RunFolder::open(whole).epoch_file(epoch)));
  // With --keep 0 those that are there stay, and no others come.
  REQUIRE(run_replk({"train", "--resume", parts, "--epochs", "10", "--keep", "0"}).code == 0);
  CHECK(epoch_files(parts) == epoch_files(whole));
  // Without the flag there are none.
  REQUIRE(run_replk(fixture.train("none", {"--epochs", "2"})).code == 0);
  CHECK(epoch_files(fixture.run("none")).empty());
}

// What a state lists must be there when the run goes on from it, so nothing is removed between two states.
TEST_CASE("scripts/best_epochs/no_checkpoint_is_removed_before_the_state_is_saved") {
  const Fixture fixture;
  const fs::path run = fixture.run("run");
  REQUIRE(run_replk(fixture.train("run", {"--epochs", "40", "--keep", "1", "--stop-after", "1"})).code == 0);
  REQUIRE(epoch_files(run) == std::vector<std::int64_t>{1});
  const std::string state = read_text(run / kStateFile);
  // No file may grow beyond the size of a checkpoint: the larger state cannot be written.
  const auto blocks = fs::file_size(run / kLastFile) / 512 + 4;
  REQUIRE(fs::file_size(run / kStateFile) > 512 * blocks);
  const Outcome outcome = run_replk_with_files_of(blocks, {"train", "--resume", run, "--save-every", "30"});
  INFO(outcome.err);
  CHECK(outcome.code == 3);
  CHECK(contains(outcome.err, kStateFile));
  CHECK(read_text(run / kStateFile) == state);
  const auto files = epoch_files(run);
  CHECK(files.size() > 1);
  CHECK(files.front() == 1);
}
