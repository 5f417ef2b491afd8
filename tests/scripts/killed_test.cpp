// Runs that end in the middle: killed, or with a disk that takes no more. scripts/soak.sh does it at random
// moments and for minutes.
#include <sys/file.h>

#include "tests/scripts/train_command.h"

using namespace replk;
using namespace replk::test;

namespace {

void check_same_weights(const std::filesystem::path& run, const std::filesystem::path& whole) {
  for (const char* file : {"last.safetensors", "best.safetensors"}) {
    INFO(file);
    CHECK(read_text(run / file) == read_text(whole / file));
  }
}

bool any_leftovers(const std::filesystem::path& folder) {
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().extension() == ".tmp") return true;
  return false;
}

}  // namespace

TEST_CASE("scripts/killed/goes on to the same bits and cleans up") {
  const Fixture fixture;
  const Arguments epochs = {"--epochs", "30"};
  REQUIRE(run_replk(fixture.train("whole", epochs)).code == 0);
  const auto run = fixture.run("run");
  {
    Arguments command = fixture.train("run", epochs);
    command.insert(command.begin(), REPLK_BINARY);
    Process process(command);
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(2);
    while (!std::filesystem::exists(run / "last.optimizer.safetensors") &&
           std::chrono::steady_clock::now() < deadline)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    process.send(SIGKILL);
    REQUIRE(process.wait().code == 128 + SIGKILL);
  }
  for (const auto& entry : std::filesystem::directory_iterator(run))
    if (entry.path().extension() == ".safetensors") {
      INFO(entry.path());
      CHECK(run_replk({"inspect", entry.path()}).code == 0);
    }
  write_text(run / ".replk-1-0.tmp", "half a file");
  write_text(run / "mine.tmp", "of somebody else");
  write_text(run / "batches" / ".replk-1-1.tmp", "half a picture");
  REQUIRE(run_replk({"train", "--resume", run}).code == 0);
  check_same_weights(run, fixture.run("whole"));
  CHECK_FALSE(std::filesystem::exists(run / ".replk-1-0.tmp"));
  CHECK_FALSE(any_leftovers(run / "batches"));
  CHECK(std::filesystem::exists(run / "mine.tmp"));
}

TEST_CASE("scripts/killed/before anything was written") {
  const Fixture fixture;
  const auto run = fixture.run("run");
  write_text(run / ".replk-1-0.tmp", "half a configuration");
  CHECK(run_replk(fixture.train("run", {"--epochs", "1"})).code == 0);
  CHECK_FALSE(any_leftovers(run));
}

// `ulimit -f` ends writing as a full disk does.
TEST_CASE("scripts/killed/disk full") {
  const Fixture fixture;
  const Arguments epochs = {"--epochs", "2"};
  REQUIRE(run_replk(fixture.train("whole", epochs)).code == 0);
  REQUIRE(run_replk(fixture.train("run", {"--epochs", "2", "--stop-after", "1"})).code == 0);
  const auto run = fixture.run("run");
  const auto before = contents(run);
  const std::string command =
      std::string("ulimit -f 16; exec ") + REPLK_BINARY + " train --resume " + run.string();
  const Outcome outcome = Process({"bash", "-c", command}).wait();
  INFO(outcome.err);
  CHECK(outcome.code == 3);
  check_one_line(outcome);
  for (const char* part : {".safetensors: writing", "File too large", "ulimit -f", "is untouched",
                           "The last good checkpoint is", "train --resume"})
    CHECK(contains(outcome.err, part));
  for (const auto& [file, bytes] : before) CHECK(read_text(file) == bytes);  // beside a new file of events
  REQUIRE(run_replk({"train", "--resume", run}).code == 0);
  check_same_weights(run, fixture.run("whole"));
}
