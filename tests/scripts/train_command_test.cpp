// `replk train`, driven as a user would: the real program on a small data set on disk.
#include <sstream>

#include "io/safetensors.h"
#include "scripts/replk/run_folder.h"
#include "tests/scripts/train_command.h"
#include "tests/support/catch.h"

using namespace replk;
using namespace replk::test;
namespace fs = std::filesystem;

namespace {

// What has to be the same for two runs of the same computation: everything but times.
void check_same_run(const fs::path& a, const fs::path& b) {
  for (const char* name : {kLastFile, kBestFile, kModelFile}) {
    INFO(name);
    CHECK(read_text(a / name) == read_text(b / name));
  }
  const Safetensors state_a = read_safetensors(a / kStateFile), state_b = read_safetensors(b / kStateFile);
  REQUIRE(state_a.tensors.size() == state_b.tensors.size());
  for (const auto& [name, tensor] : state_a.tensors) {
    INFO(name);
    CHECK(tensor.to_vector() == state_b.tensors.at(name).to_vector());
  }
  const auto rows = [](const fs::path& run) {
    auto all = read_metrics_jsonl(read_text(run / kMetricsJsonl), run.string());
    for (EpochMetrics& row : all) row.seconds = row.images_per_second = 0;
    return metrics_csv(all);
  };
  CHECK(rows(a) == rows(b));
  CHECK(read_text(a / kCurvesFile) == read_text(b / kCurvesFile));
}

// Starts a run, and sends `signal` once it has said `moment`.
Outcome interrupted_at(const Arguments& arguments, const std::string& moment, int signal) {
  Arguments command = arguments;
  command.insert(command.begin(), REPLK_BINARY);
  Process process(command);
  for (int i = 0; i < 20000 && !contains(process.out(), moment); ++i) usleep(2000);
  process.send(signal);
  return process.wait();
}

// The command that an interrupted run prints, as a shell runs it.
Outcome run_printed_command(const std::string& out) {
  const auto at = out.find("To continue:\n");
  REQUIRE(at != std::string::npos);
  std::istringstream rest(out.substr(at));
  std::string line;
  std::getline(rest, line);
  std::getline(rest, line);
  return Process({"sh", "-c", line}).wait();
}

}  // namespace

TEST_CASE("scripts/train_command/leaves_a_run_folder") {
  const Fixture fixture;
  const Outcome outcome =
      run_replk(fixture.train("run", {"--epochs", "8", "--lr", "0.01", "--augment", "none"}));
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  CHECK(outcome.err.empty());
  CHECK(contains(outcome.out, "epoch 8/8"));
  CHECK_FALSE(contains(outcome.out, "\r"));
  const fs::path run = fixture.run("run");
  for (const char* name : {kConfigFile, kModelFile, kMetricsCsv, kMetricsJsonl, kCurvesFile, kConfusionFile,
                           kLastFile, kBestFile, kStateFile})
    CHECK(fs::exists(run / name));
  const auto rows = read_metrics_jsonl(read_text(run / kMetricsJsonl), "metrics");
  REQUIRE(rows.size() == 8);
  CHECK(rows[7].step == 80);
  CHECK(rows[7].train_loss < rows[0].train_loss);
  CHECK(rows[7].val_accuracy > 0.6);
  // A new run never goes into a folder that is in use.
  const auto before = contents(run);
  const Outcome again = run_replk(fixture.train("run"));
  CHECK(again.code == 2);
  check_one_line(again);
  CHECK(contains(again.err, "--resume"));
  CHECK(contents(run) == before);
  // The configuration of a run is a configuration file, and gives the same run.
  const Outcome copy = run_replk({"train", "--config", run / kConfigFile, "--out", fixture.run("copy")});
  CHECK(copy.code == 0);
  check_same_run(run, fixture.run("copy"));
}

TEST_CASE("scripts/train_command/resume_is_bit_exact") {
  const Fixture fixture;
  REQUIRE(run_replk(fixture.train("whole", {"--epochs", "4"})).code == 0);
  const Outcome half = run_replk(fixture.train("parts", {"--epochs", "4", "--stop-after", "2"}));
  REQUIRE(half.code == 0);
  const Outcome rest = run_printed_command(half.out);
  INFO(rest.err);
  CHECK(rest.code == 0);
  check_same_run(fixture.run("whole"), fixture.run("parts"));
  // With nothing left to do a run stays as it is.
  const auto before = contents(fixture.run("parts"));
  CHECK(run_replk({"train", "--resume", fixture.run("parts")}).code == 0);
  CHECK(contents(fixture.run("parts")) == before);
}

TEST_CASE("scripts/train_command/more_epochs_than_planned_at_a_constant_rate") {
  const Fixture fixture;
  const Arguments constant = {"--schedule", "constant", "--save-every", "3", "--epochs"};
  Arguments four = constant, two = constant;
  four.push_back("4");
  two.push_back("2");
  REQUIRE(run_replk(fixture.train("four", four)).code == 0);
  REQUIRE(run_replk(fixture.train("two", two)).code == 0);
  const Outcome rest = run_replk(
      {"train", "--resume", fixture.run("two"), "--epochs", "4", "--threads", "2", "--workers", "2"});
  INFO(rest.err);
  REQUIRE(rest.code == 0);
  check_same_run(fixture.run("four"), fixture.run("two"));
  CHECK(contains(read_text(fixture.folder / "two" / "config.json"), "\"epochs\": 4"));
}

TEST_CASE("scripts/train_command/ctrl_c_saves_and_resumes_bit_exact") {
  const Fixture fixture;
  const Arguments epochs = {"--epochs", "12"};
  REQUIRE(run_replk(fixture.train("whole", epochs)).code == 0);
  const Outcome first = interrupted_at(fixture.train("parts", epochs), "saving to", SIGINT);
  CHECK(first.code == 130);
  CHECK(contains(first.out, "interrupted in epoch"));
  CHECK(fs::exists(fixture.folder / "parts" / "last.safetensors"));
  const Arguments resume = {"train", "--resume", fixture.run("parts")};
  const Outcome second = interrupted_at(resume, "epoch 4/12", SIGTERM);
  CHECK(second.code == 130);
  const Outcome rest = run_printed_command(second.out);
  INFO(rest.err);
  CHECK(rest.code == 0);
  check_same_run(fixture.run("whole"), fixture.run("parts"));
}

TEST_CASE("scripts/train_command/a_killed_run_resumes_from_what_it_saved") {
  const Fixture fixture;
  const Arguments epochs = {"--epochs", "8"};
  REQUIRE(run_replk(fixture.train("whole", epochs)).code == 0);
  interrupted_at(fixture.train("parts", epochs), "epoch 3/8", SIGKILL);
  // Killed between the files of an epoch: metrics and the last checkpoint are ahead of the state or behind.
  write_text(fixture.folder / "parts" / "metrics.jsonl", "");
  fs::remove(fixture.folder / "parts" / "last.safetensors");
  const Outcome rest = run_replk({"train", "--resume", fixture.run("parts")});
  INFO(rest.err);
  REQUIRE(rest.code == 0);
  check_same_run(fixture.run("whole"), fixture.run("parts"));
}

TEST_CASE("scripts/train_command/kernels_are_said_and_can_be_forced") {
  const Fixture fixture;
  std::map<std::string, std::string> weights;
  for (const std::string kernel : {"automatic", "fft", "naive"}) {
    const Outcome outcome = run_replk(fixture.train(kernel, {"--epochs", "1", "--depthwise-kernel", kernel}));
    INFO(outcome.err << outcome.out);
    REQUIRE(outcome.code == 0);
    CHECK(contains(outcome.out, "\ndepth-wise kernels: "));
    CHECK(contains(outcome.out, "--depthwise-kernel fft does not apply to ") == (kernel == "fft"));
    CHECK(contains(outcome.out, " naive, ") == (kernel == "naive"));
    CHECK(contains(read_text(fixture.run(kernel) / kConfigFile), "\"depthwise_kernel\": \"" + kernel + "\""));
    weights[kernel] = read_text(fixture.run(kernel) / kLastFile);
  }
  // It was used: other kernels round differently.
  CHECK(weights["fft"] != weights["naive"]);
  // A run goes on with its own.
  const Outcome other = run_replk({"train", "--resume", fixture.run("fft"), "--depthwise-kernel", "naive"});
  CHECK(other.code == 2);
  check_one_line(other);
  CHECK(contains(other.err, "--depthwise-kernel: --resume continues with the run's own value"));
  const Outcome same = run_replk({"train", "--resume", fixture.run("fft")});
  CHECK(contains(same.out, "--depthwise-kernel fft does not apply to "));
}
