// replk convert, and the other commands with PyTorch checkpoints.
#include "io/safetensors.h"
#include "tests/scripts/command_files.h"
#include "tests/support/catch.h"

namespace replk::test {
namespace {

constexpr const char* kMicro = "tests/fixtures/replknet_micro.pth";

// The weights of the fixture, as PyTorch's safetensors twin has them.
std::map<std::string, Tensor> micro_weights() {
  std::map<std::string, Tensor> weights;
  for (const auto& [name, tensor] : read_safetensors("tests/fixtures/replknet_micro.safetensors").tensors)
    if (name.starts_with("model.")) weights[name.substr(6)] = tensor;
  return weights;
}

bool same(const std::map<std::string, Tensor>& a, const std::map<std::string, Tensor>& b) {
  return a.size() == b.size() && std::all_of(a.begin(), a.end(), [&](const auto& entry) {
           const auto other = b.find(entry.first);
           return other != b.end() && entry.second.shape() == other->second.shape() &&
                  entry.second.to_vector() == other->second.to_vector();
         });
}

std::string lines(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += "class " + std::to_string(i) + "\n";
  return text;
}

void refused(const std::vector<std::string>& arguments, int code, const std::vector<std::string>& parts) {
  const Outcome outcome = run_replk(arguments);
  INFO(outcome.err);
  CHECK(outcome.code == code);
  CHECK(is_one_line_error(outcome.err));
  for (const std::string& part : parts) CHECK(contains(outcome.err, part));
}

}  // namespace

TEST_CASE("scripts/convert/a_pytorch_checkpoint_becomes_ours") {
  const TemporaryFolder folder;
  const std::string out = (folder / "out.safetensors").string();
  const Outcome outcome = run_replk({"convert", kMicro, out});
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  CHECK(contains(outcome.out, "13 11 9 7"));
  CHECK(contains(outcome.out, "training-time"));
  const Checkpoint checkpoint = read_checkpoint(out);
  CHECK_FALSE(checkpoint.foreign);
  CHECK(checkpoint.config.small_kernel == 5);
  CHECK(same(checkpoint.weights, micro_weights()));
  CHECK_NOTHROW(build_model(checkpoint));
}

TEST_CASE("scripts/convert/merged_and_backbone_networks") {
  const TemporaryFolder folder;
  const std::string merged = (folder / "merged.safetensors").string(),
                    out = (folder / "out.safetensors").string();
  REQUIRE(run_replk({"reparam", kMicro, "-o", merged, "--images", "4", "--threads", "1"}).code == 0);
  CHECK(read_checkpoint(merged).config.small_kernel_merged);
  // The same weights without what tells ours apart.
  write_safetensors(out, read_safetensors(merged).tensors, {{"format", "pt"}});
  const Checkpoint foreign = read_checkpoint(out);
  CHECK(foreign.foreign);
  CHECK(foreign.config.small_kernel_merged);
  CHECK_NOTHROW(build_model(foreign));

  REQUIRE(run_replk({"convert", "tests/fixtures/replknet_micro_xl.pth", out}).code == 0);
  const Checkpoint backbone = read_checkpoint(out);
  CHECK(backbone.config.num_classes == 0);
  CHECK(backbone.config.dw_ratio == 1.5);
  CHECK(backbone.config.norm_intermediate_features);
  CHECK_NOTHROW(build_model(backbone));
}

TEST_CASE("scripts/convert/a_card_makes_it_ready_for_eval_and_predict") {
  const TemporaryFolder folder;
  const std::string out = (folder / "out.safetensors").string(), classes = (folder / "classes.txt").string();
  write_text(classes, lines(10));
  refused({"eval", kMicro}, 3, {"'card'", "replk convert"});
  REQUIRE(
      run_replk({"convert", kMicro, out, "--classes", classes, "--image-size", "64", "--keep-aspect"}).code ==
      0);
  const ModelCard card = read_checkpoint(out).card();
  CHECK(card.classes.size() == 10);
  CHECK(card.classes[3] == "class 3");
  CHECK(card.height == 64);
  CHECK(card.keep_aspect);
  CHECK(card.mean[0] == 0.485F);
  CHECK(card.std[2] == 0.225F);
  // A card that is there stays, but for what the flags say.
  const std::string again = (folder / "again.safetensors").string();
  REQUIRE(run_replk({"convert", out, again, "--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5"}).code == 0);
  CHECK(read_checkpoint(again).card().mean[0] == 0.5F);
  CHECK(read_checkpoint(again).card().height == 64);
  CHECK(read_checkpoint(again).card().classes == card.classes);

  refused({"convert", kMicro, out, "--image-size", "64"}, 2, {"10 classes", "got 0"});
  write_text(classes, lines(9));
  refused({"convert", kMicro, out, "--classes", classes}, 2, {"10 classes", "got 9"});
  refused({"convert", kMicro, out, "--classes", "nowhere.txt"}, 3, {"--classes", "nowhere.txt"});
  write_text(classes, lines(10));
  refused({"convert", kMicro, out, "--classes", classes, "--mean", "0.5"}, 2, {"--std"});
  refused({"convert", kMicro, out, "--classes", classes, "--mean", "0.5", "--std", "0.5"}, 2,
          {"3 numbers", "1"});
  refused({"convert", kMicro, out, "--classes", classes, "--mean", "1,1,1", "--std", "1,0,1"}, 3,
          {"positive stds"});
}

TEST_CASE("scripts/convert/the_card_resizes_as_published_weights_were_evaluated") {
  const TemporaryFolder folder;
  const std::string out = (folder / "out.safetensors").string(), classes = (folder / "classes.txt").string();
  write_text(classes, lines(10));
  const auto card_of = [&](const std::string& in, std::vector<std::string> flags) {
    flags.insert(flags.begin(), {"convert", in, out});
    const Outcome outcome = run_replk(flags);
    INFO(outcome.err);
    REQUIRE(outcome.code == 0);
    return read_checkpoint(out).card();
  };
  const auto card = [&](std::vector<std::string> flags) {
    flags.insert(flags.end(), {"--classes", classes});
    return card_of(kMicro, flags);
  };
  for (const std::vector<std::string>& flags :
       {std::vector<std::string>{}, {"--image-size", "224"}, {"--image-size", "224", "--keep-aspect"}}) {
    const ModelCard usual = card(flags);
    CHECK(usual.height == 224);
    CHECK(usual.keep_aspect);
    CHECK(usual.crop == 0.875);  // 224 of 256
    CHECK(usual.bicubic);
  }
  CHECK_FALSE(card({"--image-size", "384"}).keep_aspect);
  CHECK(card({"--image-size", "384"}).bicubic);
  CHECK(card({"--image-size", "384", "--keep-aspect"}).keep_aspect);
  CHECK(card({"--image-size", "384", "--keep-aspect"}).crop == 1);
  CHECK(card({"--image-size", "64"}).crop == 1);
  CHECK(card({"--eval-crop", "0.5"}).crop == 0.5);
  CHECK_FALSE(card({"--eval-crop", "0"}).keep_aspect);
  const ModelCard bilinear = card({"--interpolation", "bilinear"});
  CHECK_FALSE(bilinear.bicubic);

  // A card that is there stays, but for what the flags say.
  const std::string grey = command_files().checkpoint().string();
  CHECK_FALSE(card_of(grey, {"--image-size", "224"}).keep_aspect);
  CHECK_FALSE(card_of(grey, {"--image-size", "224"}).bicubic);
  const ModelCard told = card_of(grey, {"--eval-crop", "0.9", "--interpolation", "bicubic"});
  CHECK(told.keep_aspect);
  CHECK(told.crop == 0.9);
  CHECK(told.bicubic);

  refused({"convert", kMicro, out, "--eval-crop", "0.05"}, 2, {"--eval-crop", "0.05"});
  refused({"convert", kMicro, out, "--eval-crop", "0", "--keep-aspect"}, 2, {"--eval-crop", "--keep-aspect"});
  refused({"convert", kMicro, out, "--interpolation", "bicubi"}, 2, {"--interpolation", "'bicubic'"});
  refused({"convert", kMicro, out, "--as-is", "--eval-crop", "1"}, 2, {"--as-is"});
}

TEST_CASE("scripts/convert/normalisation_of_published_weights") {
  ModelCard card;
  card.model = "replknet-31b";
  set_published_normalisation(card);
  CHECK(card.mean == std::vector{0.485F, 0.456F, 0.406F});
  CHECK(card.std == std::vector{0.229F, 0.224F, 0.225F});
  card.model = "replknet-xl";
  set_published_normalisation(card);
  CHECK(card.mean == std::vector{0.5F, 0.5F, 0.5F});
  CHECK(card.std == card.mean);
}

TEST_CASE("scripts/convert/a_data_set_gives_the_card") {
  const CommandFiles& files = command_files();
  const TemporaryFolder folder;
  const std::string bare = (folder / "bare.safetensors").string(),
                    out = (folder / "out.safetensors").string();
  const std::string config = (folder / "config.json").string();
  write_safetensors(bare, read_safetensors(files.checkpoint()).tensors);
  refused({"convert", bare, out}, 2, {"strides", "--model"});
  write_text(config, R"({"stem_strides": [2, 1]})");
  const std::string data = files.data().string();
  const Outcome outcome =
      run_replk({"convert", bare, out, "--config", config, "--data", data, "--image-size", "16"});
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  const ModelCard card = read_checkpoint(out).card();
  CHECK(card.classes == files.card.classes);
  CHECK(card.mean.size() == 1);
  CHECK(run_replk({"eval", out}).code == 0);
  write_text(config, R"({"stem_stride": [2, 1]})");
  refused({"convert", bare, out, "--config", config}, 2, {"stem_stride", "stem_strides"});
}

TEST_CASE("scripts/convert/mistakes_are_told") {
  const TemporaryFolder folder;
  const std::string out = (folder / "out.safetensors").string();
  const std::string training = "tests/fixtures/pytorch/training.pth";
  refused({"convert", kMicro, "out.bin"}, 2, {"out.bin", ".safetensors"});
  refused({"convert", training, out}, 3, {training, "not the weights of a RepLKNet", "stem.0.conv.weight"});
  refused({"convert", training, out, "--entry", "ema"}, 2, {"\"ema\"", "model_ema"});
  refused({"convert", "tests/fixtures/pytorch/legacy.pth", out}, 3, {"before 1.6", "torch.save"});
  refused({"convert", "tests/fixtures/pytorch/module.pth", out}, 3, {"state_dict"});
  refused({"convert", "nowhere.pth", out}, 3, {"nowhere.pth", "no such file"});
  refused({"convert", kMicro, out, "--model", "replknet-tinny"}, 2, {"replknet-tiny"});
  refused({"convert", kMicro, out, "--model", "replknet-nano"}, 3,
          {kMicro, "another model", "Unexpected", "Of another shape",
           "(40, 3, 3, 3) expected, got (8, 3, 3, 3)"});
  refused({"convert", command_files().checkpoint().string(), out, "--model", "replknet-nano"}, 2,
          {"--model"});
  refused({"convert", command_files().checkpoint().string(), out, "--entry", "model"}, 2,
          {"--entry", "safetensors"});
  CHECK_FALSE(std::filesystem::exists(out));
}

TEST_CASE("scripts/convert/as_is_copies_tensors_of_any_network") {
  const TemporaryFolder folder;
  const std::string out = (folder / "out.safetensors").string();
  const std::string training = "tests/fixtures/pytorch/training.pth";
  const Outcome outcome = run_replk({"convert", training, out, "--as-is", "--entry", "model_ema"});
  CHECK(outcome.code == 0);
  CHECK(contains(outcome.err, "note: skipped beside \"model_ema\""));
  CHECK(read_safetensors(out).tensors.at("weight").to_vector() ==
        std::vector<double>{10, 11, 12, 13, 14, 15});
  refused({"convert", training, out, "--as-is", "--model", "replknet-nano"}, 2, {"--as-is"});
}

TEST_CASE("scripts/convert/summary_takes_a_pytorch_checkpoint") {
  const Outcome outcome = run_replk({"summary", kMicro, "--image-size", "64"});
  CHECK(outcome.code == 0);
  CHECK(contains(outcome.out, "41,690"));
}

}  // namespace replk::test
