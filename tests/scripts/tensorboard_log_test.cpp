// The event files of a run, read by definition and put together as TensorBoard does.
#include "scripts/replk/tensorboard_log.h"

#include <set>

#include "tests/scripts/train_command.h"
#include "tests/support/event_reader.h"

using namespace replk;
using namespace replk::test;
namespace fs = std::filesystem;

namespace {

// What TensorBoard shows: by tag, the values by step. The start of a session ends what was said of its step
// and later ones; a step that comes twice all the same is a mistake.
std::map<std::string, std::map<std::int64_t, float>> shown(const fs::path& run) {
  std::map<std::string, std::map<std::int64_t, float>> all;
  for (const fs::path& file : event_files(run))
    for (const Event& event : read_events(read_text(file))) {
      if (event.session_start)
        for (auto& [tag, values] : all) values.erase(values.lower_bound(event.step), values.end());
      for (const auto& [tag, value] : event.scalars) {
        INFO(tag << " of step " << event.step);
        CHECK(all[tag].emplace(event.step, value).second);
      }
    }
  return all;
}

std::set<std::string> tags_of(const fs::path& run) {
  std::set<std::string> tags;
  for (const auto& [tag, values] : shown(run)) tags.insert(tag);
  return tags;
}

// The same without what a clock measured.
auto shown_without_times(const fs::path& run) {
  auto all = shown(run);
  for (const char* tag : {"epoch/images_per_second", "epoch/seconds", "step/images_per_second"})
    for (auto& [step, value] : all.at(tag)) value = 0;
  return all;
}

}  // namespace

TEST_CASE("scripts/tensorboard_log/a_run_writes_every_number") {
  const Fixture fixture;
  const Outcome outcome = run_replk(fixture.train("run", {"--epochs", "2", "--ema", "0.9"}));
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  const fs::path run = fixture.run("run");
  REQUIRE(event_files(run).size() == 1);
  const auto all = shown(run);
  CHECK(tags_of(run) ==
        std::set<std::string>{"loss/training", "loss/validation", "loss/validation_averaged",
                              "accuracy/training", "accuracy/validation", "accuracy/validation_averaged",
                              "epoch/lr", "epoch/images_per_second", "epoch/seconds", "step/loss",
                              "step/accuracy", "step/lr", "step/gradient_norm", "step/images_per_second"});
  double loss = 0, accuracy = 0;
  for (std::int64_t step = 1; step <= 10; ++step) {
    loss += all.at("step/loss").at(step) / 10;
    accuracy += all.at("step/accuracy").at(step) / 10;
    CHECK(all.at("step/gradient_norm").at(step) > 0);
    CHECK(all.at("step/images_per_second").at(step) > 0);
  }
  CHECK(all.at("step/loss").size() == 20);
  const auto rows = read_metrics_jsonl(read_text(run / kMetricsJsonl), "metrics");
  CHECK(loss == Approx(rows[0].train_loss));
  CHECK(accuracy == Approx(rows[0].train_accuracy));
  for (const EpochMetrics& row : rows) {
    const auto value = [&](const char* tag) { return all.at(tag).at(row.step); };
    CHECK(value("loss/training") == static_cast<float>(row.train_loss));
    CHECK(value("loss/validation") == static_cast<float>(row.val_loss));
    CHECK(value("loss/validation_averaged") == static_cast<float>(row.val_loss_ema));
    CHECK(value("accuracy/training") == static_cast<float>(row.train_accuracy));
    CHECK(value("accuracy/validation") == static_cast<float>(row.val_accuracy));
    CHECK(value("accuracy/validation_averaged") == static_cast<float>(row.val_accuracy_ema));
    CHECK(value("epoch/lr") == static_cast<float>(row.lr));
    CHECK(value("step/lr") == static_cast<float>(row.lr));
    CHECK(value("epoch/images_per_second") == static_cast<float>(row.images_per_second));
    CHECK(value("epoch/seconds") == static_cast<float>(row.seconds));
  }
  for (const char* tag : {"loss/training", "epoch/seconds"}) CHECK(all.at(tag).size() == 2);
}

TEST_CASE("scripts/tensorboard_log/what_is_not_there_is_left_out") {
  const Fixture fixture;
  REQUIRE(run_replk(fixture.train("run", {"--epochs", "1", "--val-split", "0"})).code == 0);
  CHECK(tags_of(fixture.run("run")) == std::set<std::string>{"loss/training", "accuracy/training", "epoch/lr",
                                                             "epoch/images_per_second", "epoch/seconds",
                                                             "step/loss", "step/accuracy", "step/lr",
                                                             "step/gradient_norm", "step/images_per_second"});
  REQUIRE(run_replk(fixture.train("off", {"--epochs", "1", "--tensorboard", "off"})).code == 0);
  CHECK(event_files(fixture.run("off")).empty());
}

// What a state holds as done must be in the event files, since nobody writes it there again.
TEST_CASE("scripts/tensorboard_log/an_epoch_is_written_before_the_state") {
  const Fixture fixture;
  REQUIRE(run_replk(fixture.train("run", {"--epochs", "2", "--stop-after", "1"})).code == 0);
  const fs::path run = fixture.run("run");
  const auto blocks = fs::file_size(run / kLastFile) / 512 + 4;
  REQUIRE(fs::file_size(run / kStateFile) >
          512 * blocks);  // so the state of the second epoch cannot be written
  CHECK(run_replk_with_files_of(blocks, {"train", "--resume", run}).code == 3);
  CHECK(shown(run).at("loss/validation").contains(20));
}

// Killed long after its last state: the steps in between are computed, and written, once more.
TEST_CASE("scripts/tensorboard_log/a_killed_and_resumed_run_has_one_history") {
  const Fixture fixture;
  const fs::path whole = fixture.run("whole"), parts = fixture.run("parts");
  REQUIRE(run_replk(fixture.train("whole", {"--epochs", "4"})).code == 0);
  REQUIRE(run_replk(fixture.train("parts", {"--epochs", "4", "--stop-after", "2"})).code == 0);
  const std::string state = read_text(parts / kStateFile);
  REQUIRE(run_replk({"train", "--resume", parts, "--stop-after", "3"}).code == 0);
  write_text(parts / kStateFile, state);
  const std::string before = read_text(event_files(parts).front());
  REQUIRE(run_replk({"train", "--resume", parts}).code == 0);
  CHECK(event_files(parts).size() == 3);
  CHECK(read_text(event_files(parts).front()) == before);
  CHECK(shown_without_times(parts) == shown_without_times(whole));
  CHECK(shown(whole).at("step/loss").size() == 40);
}

TEST_CASE("scripts/tensorboard_log/about_25_steps_of_an_epoch") {
  const TemporaryFolder folder;
  const auto steps_of = [&](std::int64_t steps_in_epoch) {
    const fs::path run = folder / std::to_string(steps_in_epoch);
    fs::create_directories(run);
    TensorboardLog log(run, steps_in_epoch, 0, [](const std::string&) { FAIL("a warning"); });
    for (std::int64_t step = 1; step <= 2 * steps_in_epoch; ++step) log.add_step(step, {.images = 1}, 1);
    std::vector<std::int64_t> steps;
    const auto all = shown(run);
    for (const auto& [step, value] : all.at("step/loss")) steps.push_back(step);
    return steps;
  };
  CHECK(steps_of(3) == std::vector<std::int64_t>{1, 2, 3, 4, 5, 6});
  CHECK(steps_of(100).size() == 50);
  CHECK(steps_of(100)[0] == 4);
  CHECK(steps_of(445).size() == 2 * 445 / 17);
}

TEST_CASE("scripts/tensorboard_log/training_goes_on_without_it_after_one_warning") {
  const TemporaryFolder folder;
  std::vector<std::string> warnings;
  TensorboardLog log(folder / "gone", 1, 0, [&](const std::string& text) { warnings.push_back(text); });
  CHECK_NOTHROW(log.add_step(1, {.images = 1}, 1));
  fs::create_directories(folder / "gone");
  CHECK_NOTHROW(log.add_step(2, {.images = 1}, 1));
  CHECK_NOTHROW(log.add_epoch({.epoch = 1, .step = 2}));
  REQUIRE(warnings.size() == 1);
  CHECK(contains(warnings[0], "events.out.tfevents."));
  CHECK(contains(warnings[0], "goes on without"));
  CHECK(event_files(folder / "gone").empty());
}

// A disk with room for every other file, but not for the longest of them.
TEST_CASE("scripts/tensorboard_log/a_full_disk_is_a_warning") {
  const Fixture fixture;
  const Arguments options = {"--batch-size", "4", "--epochs", "24", "--stop-after", "1"};
  REQUIRE(run_replk(fixture.train("run", options)).code == 0);
  const fs::path run = fixture.run("run");
  const auto blocks = fs::file_size(run / kStateFile) / 512 + 32;
  const Outcome outcome = run_replk_with_files_of(blocks, {"train", "--resume", run});
  INFO(outcome.err);
  CHECK(outcome.code == 0);
  check_one_line(outcome);
  CHECK(contains(outcome.err, "replk: warning: "));
  CHECK(contains(outcome.err, "without writing more TensorBoard events"));
  CHECK(read_metrics_jsonl(read_text(run / kMetricsJsonl), "metrics").size() == 24);
  const auto all = shown(run);  // whole records
  CHECK(all.at("step/loss").size() > 80);
  CHECK(all.at("step/loss").size() < 24 * 40);
}
