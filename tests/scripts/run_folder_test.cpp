#include "scripts/replk/run_folder.h"

#include <cmath>
#include <limits>

#include "core/error.h"
#include "tests/scripts/process.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::vector<EpochMetrics> rows() {
  return {{.epoch = 1,
           .step = 10,
           .train_loss = 0.1,
           .train_accuracy = 1.0 / 3,
           .val_loss = kNan,
           .val_accuracy = kNan,
           .val_loss_ema = kNan,
           .val_accuracy_ema = kNan,
           .lr = 1e-3,
           .images_per_second = 1000,
           .seconds = 2.5},
          {.epoch = 2,
           .step = 20,
           .train_loss = 1e-17,
           .val_loss = 2,
           .val_accuracy = 0.5,
           .val_loss_ema = 1.5,
           .val_accuracy_ema = 0.75}};
}

}  // namespace

TEST_CASE("scripts/run_folder/csv") {
  CHECK(metrics_csv({}) ==
        "epoch,step,train_loss,train_accuracy,val_loss,val_accuracy,val_loss_ema,val_accuracy_ema,lr,"
        "images_per_second,seconds\n");
  CHECK(metrics_csv(rows()) == metrics_csv({}) +
                                   "1,10,0.1,0.3333333333333333,,,,,0.001,1000.0,2.5\n"
                                   "2,20,1e-17,0.0,2.0,0.5,1.5,0.75,0.0,0.0,0.0\n");
}

TEST_CASE("scripts/run_folder/jsonl_round_trip") {
  const std::string text = metrics_jsonl(rows());
  const auto back = read_metrics_jsonl(text, "x");
  REQUIRE(back.size() == 2);
  CHECK(back[0].train_accuracy == 1.0 / 3);
  CHECK(std::isnan(back[0].val_loss));
  CHECK(back[1].train_loss == 1e-17);
  CHECK(back[1].val_accuracy_ema == 0.75);
  // Written before weights were averaged.
  const auto old = read_metrics_jsonl(
      R"({"epoch":1,"step":1,"train_loss":1,"train_accuracy":1,"val_loss":1,"val_accuracy":1,"lr":1,)"
      R"("images_per_second":1,"seconds":1})",
      "x");
  CHECK(std::isnan(old[0].val_loss_ema));
  CHECK(metrics_jsonl(back) == text);
  check_error([&] { read_metrics_jsonl(text + "{}\n", "x"); }, {"x", "line 3"});
  check_error([&] { read_metrics_jsonl("nonsense", "x"); }, {"x", "line 1"});
  check_error([&] { read_metrics_jsonl("[]", "x"); }, {"x", "line 1"});
}

TEST_CASE("scripts/run_folder/is_never_taken_twice") {
  const TemporaryFolder folder;
  const std::string out = (folder / "a") / "b";
  const RunFolder run = RunFolder::create(out, "data", "model");
  CHECK(std::filesystem::is_directory(out));
  CHECK_NOTHROW(RunFolder::create(out, "data", "model"));  // still empty
  run.write(kConfigFile, "{}");
  CHECK_THROWS_AS(RunFolder::create(out, "data", "model"), UsageError);
  check_error([&] { RunFolder::create(out, "data", "model"); }, {"--out", out, "--resume"});
  CHECK(RunFolder::open(out).path() == out);
  write_text(folder / "file", "");
  CHECK_THROWS_AS(RunFolder::create(folder / "file", "data", "model"), UsageError);
  CHECK_THROWS_AS(RunFolder::create(folder / "file" / "x", "data", "model"), FileError);
  check_error([&] { RunFolder::open(folder / "nothing"); }, {"nothing", "config.json"});
}

TEST_CASE("scripts/run_folder/pictures") {
  const TemporaryFolder folder;
  const RunFolder run = RunFolder::create(folder / "run", "data", "model");
  run.write_metrics("title", rows());
  CHECK(read_text(run.file(kMetricsCsv)) == metrics_csv(rows()));
  CHECK(read_text(run.file(kMetricsJsonl)) == metrics_jsonl(rows()));
  CHECK(read_text(run.file(kCurvesFile)).find("validation, averaged weights") != std::string::npos);
  run.write_metrics("title", {{.epoch = 1}});
  CHECK(read_text(run.file(kCurvesFile)).find("averaged") == std::string::npos);
  Evaluation evaluation;
  evaluation.confusion = {3, 1, 0, 4};
  run.write_confusion("title", {"cat", "dog"}, evaluation);
  CHECK(read_text(run.file(kConfusionFile)).find("dog") != std::string::npos);
}
