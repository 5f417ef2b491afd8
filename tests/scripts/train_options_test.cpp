#include "scripts/replk/train_options.h"

#include <filesystem>
#include <map>

#include "core/error.h"
#include "models/config.h"
#include "tests/scripts/process.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

namespace {

// What the flags of a command line come to.
TrainOptions parsed(std::vector<std::string> arguments) {
  CLI::App app("test", "replk");
  GivenFlags given;
  add_train_flags(app, given);
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes them
  app.parse(arguments);
  return resolve_train_options(given);
}

}  // namespace

TEST_CASE("scripts/train_options/flags_override_the_file_and_the_file_the_defaults") {
  const TemporaryFolder folder;
  write_text(folder / "fast.json",
             R"({"epochs": 3, "lr": 0.5, "nesterov": true, "optimizer": "sgd", "drop_path": 0.25,
                 "augment": ["erase"], "model_config": {"channels": [8, 9]}})");
  const TrainOptions o = parsed({"--lr", "0.125", "--config", (folder / "fast.json").string(), "--seed=7"});
  CHECK(o.lr == 0.125);
  CHECK(o.seed == 7);
  CHECK(o.epochs == 3);
  CHECK(o.nesterov);
  CHECK(o.optimizer == "sgd");
  CHECK(o.drop_path == 0.25);
  CHECK(o.augment == std::vector<std::string>{"erase"});
  CHECK(o.model_config == R"({"channels":[8,9]})");
  CHECK(o.batch_size == TrainOptions{}.batch_size);
}

TEST_CASE("scripts/train_options/every_kind_of_flag") {
  const TrainOptions o = parsed({"--augment", "flip,erase", "--model-config", R"({"layers":[1,2]})",
                                 "--drop-path", "0.5", "--val-split", "1000", "--dry-run", "--data", "x"});
  CHECK(o.augment == std::vector<std::string>{"flip", "erase"});
  CHECK(o.model_config == R"({"layers":[1,2]})");
  CHECK(o.drop_path == 0.5);
  CHECK(o.val_split == 1000);
  CHECK(o.dry_run);
  CHECK_FALSE(o.profile);
  CHECK(o.data == "x");
  CHECK(parsed({"--augment", "none"}).augment.empty());
}

TEST_CASE("scripts/train_options/options_of_a_recipe") {
  const TrainOptions o = parsed({"--crop-scale",
                                 "0.5,0.75",
                                 "--crop-ratio=1,2",
                                 "--mean",
                                 "0.5,0.25,0.125",
                                 "--std",
                                 "1,0.5,0.25",
                                 "--cutmix-minmax",
                                 "0.25,0.5",
                                 "--betas",
                                 "0.8,0.9",
                                 "--weight-decay-end",
                                 "0.5",
                                 "--image-size",
                                 "64",
                                 "--eval-crop",
                                 "0.75",
                                 "--aa",
                                 "rand-m5",
                                 "--finetune",
                                 "x.pth",
                                 "--checkpointing"});
  CHECK(o.crop_scale == std::vector<double>{0.5, 0.75});
  CHECK(o.crop_ratio == std::vector<double>{1, 2});
  CHECK(o.mean == std::vector<double>{0.5, 0.25, 0.125});
  CHECK(o.std == std::vector<double>{1, 0.5, 0.25});
  CHECK(o.cutmix_minmax == std::vector<double>{0.25, 0.5});
  CHECK(o.betas == std::vector<double>{0.8, 0.9});
  CHECK(o.weight_decay_end == 0.5);
  CHECK(o.eval_crop == 0.75);
  CHECK(o.aa == "rand-m5");
  CHECK(o.finetune == "x.pth");
  CHECK(o.checkpointing);
  TrainOptions back;
  read_train_options(back, to_json(o), "");
  CHECK(to_json(back) == to_json(o));
  CHECK(learning_rate_scale(parsed({"--lr-base-size", "512", "--batch-size", "64"})) == 0.125);
  CHECK(learning_rate_scale({}) == 1);
  read_train_options(back, R"({"mean": null, "cutmix_minmax": null, "weight_decay_end": null})", "");
  CHECK(back.mean.empty());
  CHECK(back.cutmix_minmax.empty());
  CHECK_FALSE(back.weight_decay_end);
}

TEST_CASE("scripts/train_options/recipes") {
  std::map<std::string, TrainOptions> recipes;
  for (const auto& entry : std::filesystem::directory_iterator("recipes")) {
    if (entry.path().extension() != ".json") continue;
    INFO(entry.path());
    TrainOptions o;
    REQUIRE_NOTHROW(o = parsed({"--config", entry.path().string()}));
    CHECK_NOTHROW(preset(o.model));
    CHECK(entry.path().filename().string().starts_with(o.model));
    recipes[entry.path().stem().string()] = o;
  }
  CHECK(recipes.size() == 12);
  const TrainOptions& published = recipes.at("replknet-31b-imagenet1k-224");
  CHECK(published.epochs == 300);
  CHECK(published.lr == 4e-3);
  CHECK(learning_rate_scale(published) == 1);
  CHECK(published.drop_path == 0.5);
  CHECK(published.aa == "rand-m9-mstd0.5-inc1");
  CHECK(published.ema == 0.9999);
  CHECK(recipes.at("replknet-31b-imagenet1k-384-finetune").layer_decay == 0.7);
  CHECK(recipes.at("replknet-xl-imagenet1k-320-finetune").mean == std::vector<double>{0.5, 0.5, 0.5});
  // The quick start's own options.
  TrainOptions nano = recipes.at("replknet-nano-fashion-mnist");
  nano.config.clear();
  TrainOptions quickstart;
  quickstart.model = "replknet-nano";
  quickstart.epochs = 5;
  CHECK(to_json(nano) == to_json(quickstart));
}

TEST_CASE("scripts/train_options/json_round_trip") {
  TrainOptions o;
  o.data = "a \"folder\"";
  o.lr = 0.1;  // not exact in binary: must come back to the bit
  o.model_config = R"({"channels":[1]})";
  o.drop_path = 1.0 / 3;
  o.augment = {};
  o.nesterov = true;
  o.seed = 123456789012345;
  o.epochs = 77;
  TrainOptions back;
  read_train_options(back, to_json(o), "");
  CHECK(to_json(back) == to_json(o));
  CHECK(back.drop_path == o.drop_path);
  CHECK(back.lr == o.lr);
  CHECK(back.seed == o.seed);
  // How a process goes about it is not part of a run's configuration.
  o.out = "somewhere";
  o.profile = true;
  CHECK(to_json(back) == to_json(o));
}

TEST_CASE("scripts/train_options/mistakes_in_a_file") {
  const auto read = [](const char* text) {
    TrainOptions o;
    read_train_options(o, text, "file.json: ");
  };
  check_error([&] { read(R"({"epcohs": 3})"); }, {"file.json", "'epcohs'", "'epochs'"});
  check_error([&] { read(R"({"batch-size": 3})"); }, {"'batch-size'", "'batch_size'"});
  check_error([&] { read(R"({"config": "x"})"); }, {"unknown option 'config'"});
  check_error([&] { read(R"({"epochs": 3.5})"); }, {"'epochs'", "whole number", "3.5"});
  check_error([&] { read(R"({"epochs": "3"})"); }, {"'epochs'", "whole number"});
  check_error([&] { read(R"({"lr": null})"); }, {"'lr'", "a number"});
  check_error([&] { read(R"({"nesterov": 1})"); }, {"'nesterov'", "true or false"});
  check_error([&] { read(R"({"model_config": 1})"); }, {"'model_config'", "JSON object"});
  check_error([&] { read(R"({"augment": ["flip", 1]})"); }, {"'augment'"});
  check_error([&] { read("[1]"); }, {"file.json", "JSON object"});
  check_error([&] { read("{"); }, {"file.json", "JSON object"});
  CHECK_THROWS_AS(read("{"), UsageError);
  check_error([] { parsed({"--config", "/nowhere/x.json"}); }, {"/nowhere/x.json", "cannot be read"});
}

TEST_CASE("scripts/train_options/values_out_of_range") {
  const std::vector<std::vector<std::string>> bad = {{"--epochs", "0"},
                                                     {"--batch-size", "0"},
                                                     {"--lr", "-1"},
                                                     {"--lr", "nan"},
                                                     {"--lr", "1e999"},
                                                     {"--weight-decay", "-0.1"},
                                                     {"--momentum", "1"},
                                                     {"--schedule", "cosin"},
                                                     {"--optimizer", "adam"},
                                                     {"--label-smoothing", "2"},
                                                     {"--drop-path", "1"},
                                                     {"--clip-grad", "-1"},
                                                     {"--augment", "flop"},
                                                     {"--val-split", "1.5"},
                                                     {"--val-split", "-1"},
                                                     {"--threads", "-1"},
                                                     {"--workers", "9999"},
                                                     {"--seed", "-1"},
                                                     {"--device", "gpu"},
                                                     {"--precision", "fp16"},
                                                     {"--save-every", "0"},
                                                     {"--patience", "-1"},
                                                     {"--tensorboard", "yes"},
                                                     {"--cuda-graph", "1"},
                                                     {"--keep", "-1"},
                                                     {"--limit", "-5"},
                                                     {"--image-size", "100000"},
                                                     {"--step-gamma", "0"},
                                                     {"--warmup-epochs", "11"},
                                                     {"--epochs", "2.5"},
                                                     {"--epochs", "many"},
                                                     {"--model-config", "{"},
                                                     {"--min-lr", "1"},
                                                     {"--accumulate", "0"},
                                                     {"--accumulate", "129"},
                                                     {"--lr-base-size", "-1"},
                                                     {"--betas", "0.9"},
                                                     {"--betas", "0.9,1"},
                                                     {"--betas", "0.9,x"},
                                                     {"--opt-eps", "0"},
                                                     {"--weight-decay-end", "-1"},
                                                     {"--layer-decay", "0"},
                                                     {"--ema", "1"},
                                                     {"--crop-scale", "0,1"},
                                                     {"--crop-scale", "0.5"},
                                                     {"--crop-ratio", "2,1"},
                                                     {"--aa", "v0"},
                                                     {"--aa", "rand-m99"},
                                                     {"--color-jitter", "-1"},
                                                     {"--erase-count", "0"},
                                                     {"--mixup", "-0.1"},
                                                     {"--cutmix", "inf"},
                                                     {"--cutmix-minmax", "0.8,0.2"},
                                                     {"--mixup-prob", "1.1"},
                                                     {"--mixup-switch-prob", "-0.1"},
                                                     {"--interpolation", "cubic"},
                                                     {"--eval-crop", "0.5"},  // without --image-size
                                                     {"--mean", "0.5"},       // without --std
                                                     {"--save-batches", "-1"},
                                                     {"--epochs", "18446744073709551615"}};
  for (const auto& arguments : bad) {
    INFO(arguments[0] << " " << arguments[1]);
    CHECK_THROWS_AS(parsed(arguments), UsageError);
    check_error([&] { parsed(arguments); }, {arguments[0]});
  }
  check_error([] { parsed({"--optimizer", "adam"}); }, {"Did you mean 'adamw'"});
  check_error([] { parsed({"--augment", "flip,crp"}); }, {"Did you mean 'crop'"});
  check_error(
      [] {
        parsed({"--aa", "rand-m9", "--color-jitter", "0.4"});
      },
      {"--color-jitter", "--aa", "0.4"});
  check_error([] { parsed({"--weight-decay", "0", "--weight-decay-end", "0.1"}); }, {"--weight-decay-end"});
  check_error([] { parsed({"--mean", "0.5", "--std", "0"}); }, {"--std", "(0, 1]"});
  check_error([] { parsed({"--image-size", "64", "--eval-crop", "0.05"}); }, {"--eval-crop", "0.05"});
  CHECK_NOTHROW(parsed({"--val-split", "0"}));
  CHECK_NOTHROW(parsed({"--lr", "0"}));
}

TEST_CASE("scripts/train_options/resume_keeps_the_run_s_configuration") {
  const TemporaryFolder folder;
  TrainOptions o;
  o.lr = 0.25;
  write_text(folder / "config.json", to_json(o));
  const std::string run = folder.path().string();
  CHECK(parsed({"--resume", run}).lr == 0.25);
  CHECK(parsed({"--resume", run, "--lr", "0.25", "--epochs", "20"}).epochs == 20);
  CHECK(parsed({"--resume", run, "--workers", "3"}).workers == 3);
  CHECK(parsed({"--resume", run, "--patience", "4"}).patience == 4);
  check_error([&] { parsed({"--resume", run, "--lr", "0.5"}); }, {"--lr", "0.25", "new run"});
  check_error([&] { parsed({"--resume", run, "--out", "x"}); }, {"--out", "--resume"});
  check_error([&] { parsed({"--resume", "/nowhere"}); }, {"/nowhere", "config.json"});
}
