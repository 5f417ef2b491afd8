// What `replk` says when there is not enough memory, and that what it advises then fits.
#include <sstream>

#include "scripts/replk/memory_advice.h"
#include "tests/scripts/train_command.h"

using namespace replk;
using namespace replk::test;

namespace {

Process::Environment limit(const std::string& text) { return {{"REPLK_MEMORY_LIMIT", text}}; }

// The flags between "What fits: " and the end, without what stands in brackets.
std::vector<Arguments> advised(const std::string& message) {
  const std::string mark = "What fits: ";
  const std::size_t begin = message.find(mark);
  std::vector<Arguments> settings;
  if (begin == std::string::npos) return settings;
  settings.emplace_back();
  int depth = 0;
  std::istringstream words(message.substr(begin + mark.size()));
  for (std::string word; words >> word;) {
    const bool plain = depth == 0 && !word.starts_with("(") && word != "or";
    for (const char c : word) depth += (c == '(') - (c == ')');
    if (plain && (word.starts_with("--") || !settings.back().empty()) && !word.ends_with(".")) {
      settings.back().push_back(word);
    } else if (word.ends_with(";") && depth == 0) {
      settings.emplace_back();
    } else if (word.ends_with(").")) {
      break;
    }
  }
  return settings;
}

Arguments nano(const Fixture& fixture, const std::string& name, const Arguments& more = {}) {
  Arguments command = {"train",
                       "--data",
                       fixture.folder / "data",
                       "--model",
                       "replknet-nano",
                       "--batch-size",
                       "144",
                       "--val-split",
                       "40",
                       "--threads",
                       "2",
                       "--out",
                       fixture.run(name),
                       "--epochs",
                       "1",
                       "--device",
                       "cpu"};
  command.insert(command.end(), more.begin(), more.end());
  return command;
}

}  // namespace

TEST_CASE("scripts/memory_limit/what is advised fits") {
  const Fixture fixture;
  REQUIRE(run_replk(nano(fixture, "whole")).code == 0);
  for (const char* megabytes : {"12M", "8M", "6M"}) {
    const Outcome outcome = run_replk(nano(fixture, str("limit", megabytes)), limit(megabytes));
    INFO(outcome.err);
    CHECK(outcome.code == 3);
    check_one_line(outcome);
    for (const char* part :
         {"asked for", "in use", "REPLK_MEMORY_LIMIT allows", "the largest layers are stages.0", "MiB",
          "Nothing was saved yet", "What fits: --"})
      CHECK(contains(outcome.err, part));
    const std::vector<Arguments> settings = advised(outcome.err);
    CHECK(settings.size() == 3);
    int number = 0;
    for (const Arguments& setting : settings) {
      REQUIRE(setting.size() >= 1);
      const Outcome tried =
          run_replk(nano(fixture, str("tried", megabytes, number++), setting), limit(megabytes));
      INFO(setting[0] << ' ' << (setting.size() > 1 ? setting[1] : "") << ": " << tried.err);
      CHECK(tried.code == 0);
    }
  }
  const Outcome none = run_replk(nano(fixture, "none"), limit("1M"));
  CHECK(none.code == 3);
  CHECK(contains(none.err, "smaller --model"));
}

// As they stand, and with their own estimates.
TEST_CASE("scripts/memory_limit/only settings that fit are named") {
  MemoryQuestion question{
      .config = preset("replknet-31b"), .height = 224, .width = 224, .device = Device::cuda()};
  TrainOptions options;
  options.batch_size = 256;
  for (const std::int64_t gibibytes : {60, 24, 8}) {
    const std::int64_t capacity = gibibytes << 30;
    const auto settings = settings_that_fit(question, options, capacity);
    CHECK(settings.size() == 3);
    for (const MemorySetting& setting : settings) {
      INFO(gibibytes << ": " << setting.flags);
      CHECK(setting.bytes < capacity);
      MemoryQuestion changed = question;
      changed.config.use_checkpoint = setting.options.checkpointing;
      if (setting.options.precision == "bf16") changed.activations = DType::bf16;
      if (setting.options.image_size > 0) changed.height = changed.width = setting.options.image_size;
      CHECK(estimate_training(changed, setting.options).peak() == setting.bytes);
      CHECK_FALSE(setting.flags.empty());
    }
    // The first changes the training least: the same images, parts of the same batch.
    CHECK(settings[0].options.batch_size == 256);
    CHECK(settings[0].options.accumulate > 1);
    CHECK(settings[0].options.image_size == 0);
    CHECK(estimate_training(question, options).peak() > capacity);
  }
  CHECK(settings_that_fit(question, options, 1 << 20).empty());
}

TEST_CASE("scripts/memory_limit/what was saved stays") {
  const Fixture fixture;
  const auto run = fixture.run("run");
  REQUIRE(run_replk(nano(fixture, "run", {"--epochs", "2", "--stop-after", "1"})).code == 0);
  const auto before = contents(run);
  const Outcome outcome = run_replk({"train", "--resume", run}, limit("8M"));
  INFO(outcome.err);
  CHECK(outcome.code == 3);
  CHECK(contains(outcome.err, "The last good checkpoint is " + (run / "last.safetensors").string()));
  CHECK(contains(outcome.err, "train --resume " + run.string()));
  CHECK(contents(run) == before);
  CHECK(run_replk({"train", "--resume", run}).code == 0);
}

TEST_CASE("scripts/memory_limit/evaluation") {
  const Fixture fixture;
  REQUIRE(run_replk(nano(fixture, "run")).code == 0);
  const Arguments eval = {"eval", fixture.run("run"), "--device", "cpu", "--split", "train"};
  const Outcome outcome = run_replk(eval, limit("4M"));
  INFO(outcome.err);
  CHECK(outcome.code == 3);
  check_one_line(outcome);
  const auto settings = advised(outcome.err);
  REQUIRE(settings.size() == 1);
  Arguments again = eval;
  again.insert(again.end(), settings[0].begin(), settings[0].end());
  CHECK(run_replk(again, limit("4M")).code == 0);
  CHECK(run_replk(eval, limit("4 monkeys")).code == 2);
}
