// --find-lr: the suggestions for losses that are known, and the command.
#include "scripts/replk/lr_finder.h"

#include <cmath>
#include <sstream>

#include "scripts/replk/train_parts.h"
#include "tests/scripts/train_command.h"

using namespace replk;
using namespace replk::test;
namespace fs = std::filesystem;

namespace {

LrSweep sweep_of(const std::function<double(double)>& loss_at_power_of_ten, int steps = kSweepSteps) {
  LrSweep sweep;
  for (int step = 0; step < steps; ++step) {
    sweep.lr.push_back(swept_learning_rate(step));
    sweep.loss.push_back(loss_at_power_of_ten(std::log10(sweep.lr.back())));
  }
  return sweep;
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// Falls fastest at 1e-3, is lowest near 1e-1 and explodes from there on.
double usual_loss(double power) {
  return 2.3 - 1.5 * sigmoid((power + 3) / 0.4) + 2 * sigmoid((power - 0.6) / 0.2);
}

// Rows of a CSV file without its head, as numbers.
std::vector<std::vector<double>> rows_of(const std::string& csv) {
  std::istringstream lines(csv);
  std::string line;
  std::getline(lines, line);
  CHECK(line == "step,lr,loss,smoothed_loss");
  std::vector<std::vector<double>> rows;
  while (std::getline(lines, line)) {
    std::istringstream cells(line);
    rows.emplace_back();
    for (std::string cell; std::getline(cells, cell, ',');) rows.back().push_back(std::stod(cell));
  }
  return rows;
}

// The number after the n-th "--lr " of what was printed.
double suggestion_in(const std::string& out, int n) {
  std::size_t at = 0;
  for (int i = 0; i <= n; ++i) at = out.find("  --lr ", at) + 7;
  return std::stod(out.substr(at));
}

}  // namespace

TEST_CASE("scripts/lr_finder/rates_rise_by_a_constant_factor") {
  CHECK(swept_learning_rate(0) == 1e-7);
  CHECK(swept_learning_rate(20) == Approx(1e-6));
  CHECK(swept_learning_rate(kSweepSteps - 1) == Approx(10));
  CHECK(swept_learning_rate(8) / swept_learning_rate(7) == Approx(std::pow(10.0, 0.05)));
}

TEST_CASE("scripts/lr_finder/smoothing_neither_lags_nor_leans") {
  CHECK(smoothed_losses({}).empty());
  CHECK(smoothed_losses({3}) == std::vector<double>{3});
  for (const double value : smoothed_losses(std::vector<double>(50, 1.5))) CHECK(value == Approx(1.5));
  std::vector<double> spike(61, 0), ramp(61);
  spike[30] = 1;
  for (std::size_t i = 0; i < ramp.size(); ++i) ramp[i] = static_cast<double>(i);
  const auto hill = smoothed_losses(spike), line = smoothed_losses(ramp);
  for (std::size_t i = 0; i <= 15; ++i) {
    CHECK(hill[30 - i] == Approx(hill[30 + i]));
    CHECK(line[30 + i] == Approx(30 + static_cast<double>(i)));
  }
  CHECK(hill[34] / hill[30] == Approx(std::exp(-0.5)));  // one deviation away
}

TEST_CASE("scripts/lr_finder/divergence") {
  CHECK_FALSE(has_diverged({}));
  CHECK_FALSE(has_diverged({1, 1, 1, 1}));
  CHECK_FALSE(has_diverged({1, 1, 1, 1, 1, 3.9, 3.9, 3.9, 3.9, 3.9}));
  CHECK(has_diverged({1, 1, 1, 1, 1, 4.1, 4.1, 4.1, 4.1, 4.1}));
  CHECK_FALSE(has_diverged({1, 1, 1, 1, 1, 1, 1, 1, 15}));  // one bad batch
  CHECK(has_diverged({2, 2, 2, 2, 2, 0.4, 0.4, 0.4, 0.4, 0.4, 2, 2, 2, 2, 2}));
}

TEST_CASE("scripts/lr_finder/suggestions_for_known_losses") {
  const auto close_to = [](double found, double expected) {
    INFO(found << " for " << expected);
    CHECK(std::abs(std::log10(found / expected)) < 0.11);
  };
  for (const double noise : {0.0, 0.03}) {
    Random random(1, 2);
    const auto found = suggest_learning_rate(
        sweep_of([&](double power) { return usual_loss(power) + noise * random.uniform(-1, 1); }));
    REQUIRE(found);
    INFO(noise);
    if (noise == 0) {
      close_to(found->steepest, 1e-3);
      // The lowest of the formula, by search.
      double lowest = -7;
      for (double power = -7; power <= 1; power += 1e-3)
        if (usual_loss(power) < usual_loss(lowest)) lowest = power;
      close_to(found->tenth_of_minimum, std::pow(10.0, lowest - 1));
    }
    CHECK(std::abs(std::log10(found->steepest / 1e-3)) < 0.3);
    CHECK(std::abs(std::log10(found->tenth_of_minimum / 5e-3)) < 0.6);
  }
  // A loss that explodes and falls back is steep there, but no place to train.
  const auto falls_back = suggest_learning_rate(sweep_of([](double power) {
    return power < 0.2 ? usual_loss(power) : power < 0.5 ? 9 : 3;
  }));
  REQUIRE(falls_back);
  CHECK(std::abs(std::log10(falls_back->steepest / 1e-3)) < 0.3);
}

TEST_CASE("scripts/lr_finder/nothing_to_suggest") {
  CHECK_FALSE(suggest_learning_rate({}));
  CHECK_FALSE(suggest_learning_rate(sweep_of([](double) { return 2.3; })));
  CHECK_FALSE(suggest_learning_rate(sweep_of([](double power) { return 2.3 + sigmoid(power); })));
  CHECK_FALSE(suggest_learning_rate(sweep_of([](double power) { return 2.3 + 0.02 * std::sin(9 * power); })));
  CHECK_FALSE(suggest_learning_rate({{1e-7}, {2.3}}));
}

TEST_CASE("scripts/lr_finder/chart") {
  const LrSweep sweep = sweep_of([](double power) { return power > 0.9 ? 1e6 : usual_loss(power); });
  const std::string svg = sweep_chart("a title", sweep, LrSuggestion{1e-3, 4e-3});
  for (const char* text : {"a title", ">learning rate<", ">1e-5<", ">1e0<", "smoothed",
                           "falls fastest: --lr 0.001", "a tenth of the lowest: --lr 0.004"}) {
    INFO(text);
    CHECK(contains(svg, text));
  }
  CHECK_FALSE(contains(svg, "00000<"));  // the axis does not reach to 1e6
  CHECK_FALSE(contains(sweep_chart("", sweep, {}), "fastest"));
  CHECK(contains(sweep_chart("", {}, {}), "no data"));
}

TEST_CASE("scripts/lr_finder/a_step_with_a_rate_of_its_own") {
  const TemporaryFolder folder;
  write_idx_dataset(folder / "data");
  TrainOptions options = small_options(folder / "data");
  options.schedule = "constant";
  options.warmup_epochs = 0;
  options.lr = 0.01;
  TrainParts scheduled(options);
  options.lr = 1;
  TrainParts given(options);
  scheduled.loader.start(0);
  for (int i = 0; i < 3; ++i) {
    const Batch batch = *scheduled.loader.next();
    const StepResult expected = scheduled.trainer.step(batch), found = given.trainer.step(batch, 0.01);
    CHECK(found.loss == expected.loss);
    CHECK(found.lr == 0.01);
  }
}

TEST_CASE("scripts/lr_finder/command") {
  const Fixture fixture;
  const auto find = [&](const std::string& name, Arguments more = {}) {
    more.push_back("--find-lr");
    return run_replk(fixture.train(name, more));
  };
  const Outcome outcome = find("lr");
  INFO(outcome.err << outcome.out);
  REQUIRE(outcome.code == 0);
  const fs::path run = fixture.run("lr");
  CHECK(contents(run).size() == 2);
  const std::string csv = read_text(run / "lr_finder.csv"), svg = read_text(run / "lr_finder.svg");
  const auto rows = rows_of(csv);
  REQUIRE(rows.size() > 80);
  LrSweep sweep;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    CHECK(rows[i][0] == static_cast<double>(i + 1));
    CHECK(rows[i][1] == Approx(1e-7 * std::pow(10.0, static_cast<double>(i) / 20)));
    sweep.lr.push_back(rows[i][1]);
    sweep.loss.push_back(rows[i][2]);
  }
  CHECK(rows[40][3] == Approx(smoothed_losses(sweep.loss)[40]));
  // Batch after batch, epoch after epoch.
  TrainParts parts(small_options(fixture.folder / "data"));
  for (std::size_t i = 0; i < 25; ++i) {
    if (i % 10 == 0) parts.loader.start(static_cast<std::int64_t>(i / 10));
    CHECK(parts.trainer.step(*parts.loader.next(), rows[i][1]).loss == rows[i][2]);
  }
  // It trained: from the loss of chance to a lower one.
  CHECK(rows[0][2] == Approx(std::log(4.0)).margin(0.4));
  const auto suggestion = suggest_learning_rate(sweep);
  REQUIRE(suggestion);
  CHECK(suggestion_in(outcome.out, 0) == Approx(suggestion->steepest).epsilon(0.05));
  CHECK(suggestion_in(outcome.out, 1) == Approx(suggestion->tenth_of_minimum).epsilon(0.05));
  CHECK(contains(svg, "falls fastest"));
  // The same seed, the same bits, for any number of threads; --lr means what --lr-base-size makes of it.
  const Outcome same = find("same", {"--threads", "2", "--lr-base-size", "32", "--ema", "0.9"});
  REQUIRE(same.code == 0);
  CHECK(read_text(fixture.run("same") / "lr_finder.csv") == csv);
  CHECK(suggestion_in(same.out, 0) == Approx(2 * suggestion->steepest).epsilon(0.05));
  CHECK(suggestion_in(same.out, 1) == Approx(2 * suggestion->tenth_of_minimum).epsilon(0.05));
  REQUIRE(find("other", {"--seed", "1"}).code == 0);
  CHECK(read_text(fixture.run("other") / "lr_finder.csv") != csv);
}

TEST_CASE("scripts/lr_finder/stops_when_the_loss_diverges") {
  const Fixture fixture;
  const Outcome outcome = run_replk(
      fixture.train("lr", {"--find-lr", "--optimizer", "sgd", "--clip-grad", "0", "--weight-decay", "2"}));
  INFO(outcome.err << outcome.out);
  CHECK(outcome.err.empty());
  CHECK(contains(outcome.out, "where the loss diverged"));
  const auto rows = rows_of(read_text(fixture.run("lr") / "lr_finder.csv"));
  CHECK(rows.size() < kSweepSteps);
  std::vector<double> losses;
  for (const auto& row : rows) losses.push_back(row[2]);
  CHECK(has_diverged(losses));
  losses.pop_back();
  CHECK_FALSE(has_diverged(losses));  // at once
}

TEST_CASE("scripts/lr_finder/no_answer_and_no_harm") {
  const Fixture fixture;
  // Steps too small for any loss to fall.
  const Outcome none = run_replk(fixture.train(
      "none", {"--find-lr", "--optimizer", "sgd", "--clip-grad", "1e-9", "--weight-decay", "0"}));
  INFO(none.err << none.out);
  CHECK(none.code == 1);
  CHECK(contains(none.out, "no learning rate to suggest"));
  CHECK(fs::exists(fixture.run("none") / "lr_finder.svg"));
  REQUIRE(run_replk(fixture.train("run", {"--epochs", "1"})).code == 0);
  const auto before = contents(fixture.folder.path());
  const std::vector<Arguments> refused = {fixture.train("run", {"--find-lr"}),
                                          {"train", "--find-lr", "--resume", fixture.run("run")},
                                          fixture.train("x", {"--find-lr", "--dry-run"}),
                                          fixture.train("x", {"--find-lr", "--overfit-batch"})};
  for (const Arguments& arguments : refused) {
    const Outcome outcome = run_replk(arguments);
    INFO(outcome.err);
    CHECK(outcome.code == 2);
    check_one_line(outcome);
  }
  CHECK(contents(fixture.folder.path()) == before);
}
