// --patience: when a run ends early, and how it goes on.
#include "scripts/replk/best_epochs.h"

#include <cmath>

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
