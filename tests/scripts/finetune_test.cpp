#include "scripts/replk/finetune.h"

#include <algorithm>

#include "core/error.h"
#include "io/safetensors.h"
#include "models/published_weights.h"
#include "scripts/replk/train_parts.h"
#include "tests/scripts/train_support.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

namespace {

constexpr const char* kConfig =
    R"({"channels":[4,6],"layers":[1,1],"large_kernel_sizes":[7,5],"small_kernel":3,"in_channels":1,
        "stem_strides":[2,1],"num_classes":)";

RepLKNetConfig config_with(int classes) { return config_from_json(kConfig + std::to_string(classes) + "}"); }

bool has_line(const std::vector<std::string>& lines, const std::string& part) {
  return std::any_of(lines.begin(), lines.end(),
                     [&](const std::string& line) { return line.find(part) != std::string::npos; });
}

std::map<std::string, std::vector<double>> values_of(RepLKNet& model) {
  std::map<std::string, std::vector<double>> values;
  for (const NamedTensor& entry : model.state()) values[entry.name] = entry.tensor.to_vector();
  return values;
}

}  // namespace

TEST_CASE("scripts/finetune/the_head_is_replaced_when_classes_differ") {
  const TemporaryFolder folder;
  RepLKNet source(config_with(4), 1);
  save_checkpoint(folder / "source.safetensors", source);
  const Pretrained pretrained = read_pretrained(folder / "source.safetensors");
  CHECK_FALSE(pretrained.card);
  const auto expected = values_of(source);

  RepLKNet same(config_with(4), 2);
  const auto lines = start_from(same, pretrained);
  CHECK(values_of(same) == expected);
  CHECK(lines.size() == 1);
  CHECK(has_line(lines, str(expected.size(), " of ", expected.size(), " tensors")));

  RepLKNet other(config_with(7), 2);
  const auto fresh = values_of(other);
  const auto other_lines = start_from(other, pretrained);
  for (const auto& [name, values] : values_of(other)) {
    INFO(name);
    CHECK(values == (name.starts_with("head.") ? fresh : expected).at(name));
  }
  CHECK(has_line(other_lines, "head for 4 classes is replaced by a new one for 7"));
  CHECK(has_line(other_lines, str(expected.size() - 2, " of ", expected.size())));
  CHECK_FALSE(has_line(other_lines, "missing"));
}

TEST_CASE("scripts/finetune/every_name_that_does_not_fit_is_listed") {
  const TemporaryFolder folder;
  RepLKNet source(config_with(4), 1);
  std::map<std::string, Tensor> tensors;
  for (const NamedTensor& entry : source.state()) tensors[entry.name] = entry.tensor;
  const auto start = [&](int classes = 4) {
    write_safetensors(folder / "file.safetensors", tensors, {});
    RepLKNet model(config_with(classes), 2);
    return start_from(model, read_pretrained(folder / "file.safetensors"));
  };
  tensors.erase("head.weight");
  tensors.erase("norm.bias");
  tensors["stages.0.norm.weight"] = Tensor::zeros({4});
  const auto lines = start();
  CHECK(has_line(lines, "missing in the file: head.weight"));
  CHECK(has_line(lines, "missing in the file: norm.bias"));
  CHECK(has_line(lines, "in the file, not in the network: stages.0.norm.weight"));
  CHECK(lines.size() == 4);

  tensors["stages.0.blocks.0.large_kernel.lkb_reparam.weight"] = Tensor::zeros({4, 1, 7, 7});
  check_error([&] { start(); }, {"file.safetensors", "merged", "lkb_reparam"});
  tensors.erase("stages.0.blocks.0.large_kernel.lkb_reparam.weight");
  tensors["stem.0.conv.weight"] = Tensor::zeros({5, 1, 3, 3});
  check_error([&] { start(); },
              {"file.safetensors", "another network", "stem.0.conv.weight", "(4, 1, 3, 3)", "(5, 1, 3, 3)"});
  tensors = {{"conv1.weight", Tensor::zeros({2})}};
  check_error([&] { start(); }, {"file.safetensors", "weights of a RepLKNet", "stem.0.conv.weight"});
  CHECK_THROWS_AS(start(), FileError);
}

TEST_CASE("scripts/finetune/pytorch_checkpoints") {
  const Pretrained pretrained = read_pretrained("tests/fixtures/replknet_micro.pth");
  RepLKNetConfig config = infer_config(pretrained.weights).config;
  config.num_classes += 3;
  RepLKNet model(config, 1);
  const auto lines = start_from(model, pretrained);
  CHECK(has_line(lines, "head for"));
  CHECK_FALSE(has_line(lines, "missing"));
  CHECK_FALSE(has_line(lines, "not in the network"));
  const auto values = values_of(model);
  CHECK(values.at("stem.0.conv.weight") == pretrained.weights.at("stem.0.conv.weight").to_vector());
  CHECK(values.at("norm.running_mean") == pretrained.weights.at("norm.running_mean").to_vector());
}

TEST_CASE("scripts/finetune/a_run_starts_from_another_and_keeps_its_statistics") {
  const TemporaryFolder folder;
  write_idx_dataset(folder / "data");
  TrainOptions options = small_options(folder / "data");
  options.mean = {0.25};
  options.std = {0.125};
  TrainParts source(options);
  save_checkpoint(folder / "source.safetensors", source.model, metadata_of(source.data.card));

  options.mean.clear();
  options.std.clear();
  options.finetune = folder / "source.safetensors";
  options.seed = 5;
  options.image_size = 20;  // another resolution
  TrainParts parts(options);
  CHECK(parts.data.card.mean == std::vector<float>{0.25F});
  CHECK(parts.data.card.std == std::vector<float>{0.125F});
  CHECK(values_of(parts.model) == values_of(source.model));
  CHECK(parts.describe().find("starting from") != std::string::npos);
  parts.loader.start(0);
  const Batch batch = *parts.loader.next();
  CHECK(batch.images.shape() == Shape{16, 20, 20, 1});
  CHECK_NOTHROW(parts.trainer.step(batch));

  options.mean = {0.5};  // what is asked for comes first
  options.std = {0.5};
  CHECK(TrainParts(options).data.card.mean == std::vector<float>{0.5F});
  // A run that is resumed has its weights in its own folder: the file may be gone.
  options.finetune = folder / "gone.safetensors";
  CHECK_THROWS_AS(TrainParts(options), FileError);
  options.resume = folder / "run";
  CHECK_NOTHROW(TrainParts(options));
}
