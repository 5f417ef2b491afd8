// What `replk train` says and leaves behind when something is wrong.
#include <nlohmann/json.hpp>

#include "io/safetensors.h"
#include "scripts/replk/run_folder.h"
#include "tests/scripts/train_command.h"

using namespace replk;
using namespace replk::test;
namespace fs = std::filesystem;

TEST_CASE("scripts/train_errors/usage") {
  const Fixture fixture;
  write_text(fixture.folder / "typo.json", R"({"batchsize": 3})");
  write_text(fixture.folder / "broken.json", "{");
  struct Case {
    Arguments arguments;
    std::string expected;
  };
  const std::vector<Case> cases = {
      {{"trian"}, "'train'"},
      {{}, "a command expected"},
      {{"train", "--epcohs", "3"}, "'--epochs'"},
      {{"train", "--epcohs=3"}, "'--epochs'"},
      {{"train", "stray"}, "'stray'"},
      {{"train", "--lr"}, "--lr"},
      {{"train", "--lr", "fast"}, "--lr: a number"},
      {{"train", "--model", "replknet-tin"}, "'replknet-tiny'"},
      {{"train", "--data", "fashion-minst"}, "fashion-mnist"},
      {{"train", "--optimizer", "adam"}, "'adamw'"},
      {{"train", "--config", fixture.folder / "typo.json"}, "'batch_size'"},
      {{"train", "--config", fixture.folder / "broken.json"}, "JSON object"},
      {fixture.train("x", {"--model-config", R"({"chanels": [4]})"}), "'channels'"},
      {fixture.train("x", {"--val-split", "5000"}), "--val-split"},
      {fixture.train("data"), "--out"},
  };
  const auto before = contents(fixture.folder.path());
  for (const Case& c : cases) {
    INFO(c.expected);
    const Outcome outcome = run_replk(c.arguments);
    CHECK(outcome.code == 2);
    check_one_line(outcome);
    INFO(outcome.err);
    CHECK(contains(outcome.err, c.expected));
  }
  CHECK(contents(fixture.folder.path()) == before);
  CHECK_FALSE(fs::exists(fixture.run("x")));
}

TEST_CASE("scripts/train_errors/broken_data") {
  const Fixture fixture;
  const fs::path images = fixture.folder / "data" / "train-images-idx3-ubyte";
  const fs::path labels = fixture.folder / "data" / "train-labels-idx1-ubyte";
  const std::string good_images = read_text(images), good_labels = read_text(labels);
  const auto refused = [&](const fs::path& file, const std::string& bytes) {
    write_text(file, bytes);
    const Outcome outcome = run_replk(fixture.train("x"));
    CHECK(outcome.code == 3);
    check_one_line(outcome);
    INFO(outcome.err);
    CHECK(contains(outcome.err, "ubyte"));
    CHECK_FALSE(fs::exists(fixture.run("x")));
    write_text(images, good_images);
    write_text(labels, good_labels);
  };
  refused(images, good_images.substr(0, 1000));
  refused(images, "");
  refused(images, good_images + "more");
  refused(labels, good_labels.substr(0, good_labels.size() - 1));
  refused(labels, idx_text({199}, good_labels.substr(8, 199)));
  refused(images, idx_text({200, 12, 4000000000U}, good_images.substr(16)));
}

TEST_CASE("scripts/train_errors/a_broken_run_is_refused_and_left_as_it_is") {
  const Fixture fixture;
  REQUIRE(run_replk(fixture.train("run", {"--epochs", "2", "--stop-after", "1"})).code == 0);
  const fs::path run = fixture.run("run");
  const auto good = contents(run);
  const auto refused = [&](const char* name, const std::string& bytes, int code,
                           const std::string& expected) {
    write_text(run / name, bytes);
    const auto before = contents(run);
    const Outcome outcome = run_replk({"train", "--resume", run});
    INFO(outcome.err);
    CHECK(outcome.code == code);
    check_one_line(outcome);
    CHECK(contains(outcome.err, expected));
    CHECK(contents(run) == before);
    write_text(run / name, good.at(run / name));
  };
  const std::string state = good.at(run / kStateFile);
  refused(kStateFile, state.substr(0, state.size() / 2), 3, kStateFile);
  refused(kStateFile, "", 3, kStateFile);
  refused(kStateFile, good.at(run / kLastFile), 3, "'format'");
  refused(kConfigFile, "{", 2, "config.json: a JSON object");
  refused(kConfigFile, R"({"epochs": 2, "model": "replknet-tin"})", 2, "'replknet-tiny'");
  // A configuration of another network than the state belongs to.
  std::string other = good.at(run / kConfigFile);
  const std::string rate = "\"drop_path\": 0.2";
  other.replace(other.find(rate), rate.size(), "\"drop_path\": 0.3");
  refused(kConfigFile, other, 3, kStateFile);
  CHECK(contents(run) == good);
}

TEST_CASE("scripts/train_errors/data_that_changed_are_noticed") {
  const Fixture fixture;
  REQUIRE(run_replk(fixture.train("run", {"--epochs", "2", "--stop-after", "1"})).code == 0);
  const auto before = contents(fixture.run("run"));
  write_idx_dataset(fixture.folder / "data", 240);
  const Outcome outcome = run_replk({"train", "--resume", fixture.run("run")});
  CHECK(outcome.code == 3);
  check_one_line(outcome);
  CHECK(contains(outcome.err, "160 images"));
  CHECK(contains(outcome.err, "200"));
  CHECK(contents(fixture.run("run")) == before);
}

TEST_CASE("scripts/train_errors/a_non_finite_loss_names_the_layer") {
  const Fixture fixture;
  const Outcome outcome = run_replk(fixture.train("run", {"--lr", "1e30"}));
  INFO(outcome.err);
  CHECK(outcome.code == 4);
  check_one_line(outcome);
  CHECK(contains(outcome.err, "first layer whose output is not finite is"));
  CHECK(contains(outcome.err, "Nothing was saved yet"));
}

TEST_CASE("scripts/train_errors/a_non_finite_loss_keeps_the_last_good_checkpoint") {
  const Fixture fixture;
  REQUIRE(run_replk(fixture.train("run", {"--epochs", "3", "--stop-after", "1"})).code == 0);
  const fs::path run = fixture.run("run");
  auto config = nlohmann::json::parse(read_text(run / kConfigFile));
  config["lr"] = 1e30;
  write_text(run / kConfigFile, config.dump());
  const auto before = contents(run);
  const Outcome outcome = run_replk({"train", "--resume", run});
  INFO(outcome.err);
  CHECK(outcome.code == 4);
  check_one_line(outcome);
  CHECK(contains(outcome.err, "last good checkpoint is"));
  CHECK(contains(outcome.err, run / kLastFile));
  for (const char* name : {kLastFile, kBestFile, kStateFile})
    CHECK(read_text(run / name) == before.at(run / name));
}

TEST_CASE("scripts/train_errors/a_full_disk_loses_nothing") {
  const Fixture fixture;
  REQUIRE(run_replk(fixture.train("run", {"--epochs", "3", "--stop-after", "1"})).code == 0);
  const fs::path run = fixture.run("run");
  const auto before = contents(run);
  // No file may grow beyond a few kilobytes: writing a checkpoint fails as on a full disk.
  const Outcome outcome = run_replk_with_files_of(16, {"train", "--resume", run});
  INFO(outcome.err);
  CHECK(outcome.code == 3);
  check_one_line(outcome);
  CHECK(contains(outcome.err, ".safetensors"));
  for (const auto& [file, bytes] : before) CHECK(read_text(file) == bytes);
  CHECK(run_replk({"train", "--resume", run}).code == 0);
}

TEST_CASE("scripts/train_errors/dry_run_writes_nothing") {
  const Fixture fixture;
  const auto before = contents(fixture.folder.path());
  const Outcome outcome = run_replk(fixture.train("run", {"--dry-run"}));
  CHECK(outcome.code == 0);
  CHECK(contains(outcome.out, "nothing was written"));
  CHECK(contents(fixture.folder.path()) == before);
  CHECK_FALSE(fs::exists(fixture.run("run")));
}

TEST_CASE("scripts/train_errors/overfit_batch") {
  const Fixture fixture;
  const Outcome works = run_replk(fixture.train("run", {"--overfit-batch", "--lr", "0.01"}));
  INFO(works.err);
  CHECK(works.code == 0);
  CHECK(contains(works.out, "16 of 16 images right"));
  const Outcome fails = run_replk(fixture.train("run", {"--overfit-batch", "--lr", "0"}));
  CHECK(fails.code == 1);
  check_one_line(fails);
  CHECK(run_replk(fixture.train("run", {"--overfit-batch", "--lr", "1e30"})).code == 4);
  CHECK_FALSE(fs::exists(fixture.run("run")));
}

TEST_CASE("scripts/train_errors/fashion_mnist_from_debian") {
  if (!fs::exists("/usr/share/datasets/fashion-mnist")) {
    WARN("skipped: dataset-fashion-mnist is not installed");
    return;
  }
  const TemporaryFolder folder;
  const Outcome outcome =
      run_replk({"train", "--model", "replknet-nano", "--model-config", kSmallNetwork, "--limit", "128",
                 "--epochs", "1", "--batch-size", "32", "--profile", "--out", folder / "run"});
  INFO(outcome.err);
  CHECK(outcome.code == 0);
  CHECK(contains(outcome.out, "10 classes"));
  CHECK(contains(outcome.out, "depth-wise convolution"));
  CHECK(contains(read_text(folder / "run" / "confusion.svg"), "Sneaker"));
}
