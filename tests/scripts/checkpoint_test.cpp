#include "scripts/replk/checkpoint.h"

#include <cstring>

#include "core/error.h"
#include "io/safetensors.h"
#include "tests/scripts/process.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

namespace {

RepLKNetConfig small_config() {
  return {.large_kernel_sizes = {5, 3},
          .layers = {1, 1},
          .channels = {4, 6},
          .small_kernel = 3,
          .dw_ratio = 1.5,
          .in_channels = 1,
          .num_classes = 3,
          .stem_strides = {2, 1}};
}

ModelCard small_card() {
  return {.model = "replknet-nano",
          .dataset = "pictures",
          .classes = {"cat", "dog", "\"quoted\""},
          .height = 12,
          .width = 10,
          .channels = 1,
          .keep_aspect = true,
          .mean = {0.1F},
          .std = {0.3F}};
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

// A checkpoint file whose tensors and metadata the test may spoil before they are written.
void write_spoiled(const std::filesystem::path& path, const std::function<void(Safetensors&)>& spoil) {
  RepLKNet model(small_config(), 3);
  save_checkpoint(path, model, metadata_of(small_card()));
  Safetensors file = read_safetensors(path);
  spoil(file);
  write_safetensors(path, file.tensors, file.metadata);
}

}  // namespace

TEST_CASE("scripts/checkpoint/round_trip") {
  const TemporaryFolder folder;
  const auto path = folder / "model.safetensors";
  RepLKNet model(small_config(), 3);
  save_checkpoint(path, model, metadata_of(small_card()));

  const Checkpoint checkpoint = read_checkpoint(path);
  CHECK(checkpoint.config == small_config());
  CHECK(to_json(checkpoint.card()) == to_json(small_card()));
  CHECK(checkpoint.card().mean == small_card().mean);
  const auto loaded = build_model(checkpoint);
  CHECK_FALSE(loaded->training());
  const auto expected = model.state(), got = loaded->state();
  REQUIRE(got.size() == expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    INFO(expected[i].name);
    CHECK(got[i].name == expected[i].name);
    CHECK(same_bits(got[i].tensor, expected[i].tensor));
  }
}

TEST_CASE("scripts/checkpoint/merged_networks_are_checkpoints_too") {
  const TemporaryFolder folder;
  const auto path = folder / "merged.safetensors";
  const Tensor x = random_tensor({1, 2, 12, 12}, 1, -1, 1, DType::f32);
  RepLKNet model(small_config(), 3);
  model.eval();
  for (const bool folded : {false, true}) {
    if (folded)
      model.fold_batch_norm();
    else
      model.structural_reparam();
    save_checkpoint(path, model);
    CHECK(same_bits((*load_model(path))(x).data(), model(x).data()));
  }
}

TEST_CASE("scripts/checkpoint/foreign_files_are_refused") {
  const TemporaryFolder folder;
  const auto path = folder / "x.safetensors";
  const auto refused = [&](const std::function<void(Safetensors&)>& spoil, std::vector<std::string> parts) {
    write_spoiled(path, spoil);
    parts.push_back("x.safetensors");
    CHECK_THROWS_AS(load_model(path), FileError);
    check_error([&] { load_model(path); }, parts);
  };
  refused([](Safetensors& file) { file.metadata["format"] = "replk-training-1"; }, {"format"});
  refused([](Safetensors& file) { file.metadata.erase("config"); }, {"config", "JSON object"});
  refused([](Safetensors& file) { file.metadata["config"] = "{\"chanels\": 1}"; }, {"config", "chanels"});
  refused([](Safetensors& file) { file.metadata["config"] = "{\"channels\": []}"; }, {"config"});
  refused([](Safetensors& file) { file.metadata["config"] = to_json(preset("replknet-nano")); },
          {"describes a network", "weights"});
  refused([](Safetensors& file) { file.tensors.erase("head.weight"); }, {"Missing", "head.weight"});
  refused([](Safetensors& file) { file.tensors["extra"] = Tensor::zeros({1}); }, {"Unexpected", "extra"});
  refused([](Safetensors& file) { file.tensors["head.bias"] = Tensor::zeros({4}); }, {"head.bias", "(3)"});
}

TEST_CASE("scripts/checkpoint/a_lying_configuration_asks_for_no_memory") {
  const TemporaryFolder folder;
  const auto path = folder / "x.safetensors";
  const std::vector<std::function<void(RepLKNetConfig&)>> lies = {
      [](auto& c) {
        c.channels = {std::int64_t{1} << 40, 6};
      },
      [](auto& c) {
        c.layers = {std::int64_t{1} << 60, 1};
      },
      [](auto& c) {
        c.layers = {std::int64_t{1} << 60, 1}, c.dw_ratio = 1e-9, c.ffn_ratio = 1e-9;
      },
      [](auto& c) {
        c.large_kernel_sizes = {(std::int64_t{1} << 40) + 1, 3};
      },
      [](auto& c) { c.ffn_ratio = 1e300; },
      [](auto& c) { c.dw_ratio = 1e18; },
      [](auto& c) { c.in_channels = std::int64_t{1} << 62; },
      [](auto& c) { c.num_classes = std::int64_t{1} << 62; },
  };
  for (const auto& lie : lies) {
    RepLKNetConfig config = small_config();
    lie(config);
    write_spoiled(path, [&](Safetensors& file) { file.metadata["config"] = to_json(config); });
    check_error([&] { read_checkpoint(path); }, {"x.safetensors", "config"});
  }
}

TEST_CASE("scripts/checkpoint/cut_anywhere_is_refused") {
  const TemporaryFolder folder;
  RepLKNet model(small_config(), 3);
  save_checkpoint(folder / "whole", model, metadata_of(small_card()));
  const std::string whole = read_text(folder / "whole");
  for (std::size_t size = 0; size < whole.size(); size += size < 64 ? 1 : 997) {
    INFO(size);
    write_text(folder / "cut", whole.substr(0, size));
    CHECK_THROWS_AS(load_model(folder / "cut"), FileError);
  }
}

TEST_CASE("scripts/checkpoint/cards_are_checked") {
  const TemporaryFolder folder;
  const auto path = folder / "x.safetensors";
  const auto refused = [&](const std::function<void(ModelCard&)>& spoil, std::vector<std::string> parts) {
    ModelCard card = small_card();
    spoil(card);
    RepLKNet model(small_config());
    save_checkpoint(path, model, metadata_of(card));
    parts.push_back("x.safetensors");
    const Checkpoint checkpoint = read_checkpoint(path);
    CHECK_THROWS_AS(checkpoint.card(), FileError);
    check_error([&] { checkpoint.card(); }, parts);
  };
  refused([](ModelCard& card) { card.classes = {"one"}; }, {"1 and 3 classes"});
  refused([](ModelCard& card) { card.height = 0; }, {"0x10"});
  refused([](ModelCard& card) { card.width = 1 << 20; }, {"pixels"});
  refused([](ModelCard& card) { card.channels = 2; }, {"1 or 3 channels"});
  refused([](ModelCard& card) { card.channels = 3, card.mean = card.std = {1, 1, 1}; }, {"3 and 1 channels"});
  refused([](ModelCard& card) { card.mean = {}; }, {"mean and std"});
  refused([](ModelCard& card) { card.std = {0}; }, {"positive stds"});
  CHECK_THROWS_AS(card_from_json("{}", "x"), FileError);
  CHECK_THROWS_AS(card_from_json("[", "x"), FileError);
  check_error([] { card_from_json(R"({"model": 3})", "x"); }, {"x", "'model'"});

  RepLKNet model(small_config());
  save_checkpoint(path, model);
  check_error([&] { read_checkpoint(path).card(); }, {"x.safetensors", "'card'", "replk train"});
}

TEST_CASE("scripts/checkpoint/a_run_folder_stands_for_its_best_checkpoint") {
  const TemporaryFolder folder;
  check_error([&] { find_checkpoint(folder.path()); }, {"best.safetensors", "neither"});
  write_text(folder / "last.safetensors", "");
  CHECK(find_checkpoint(folder.path()) == folder / "last.safetensors");
  write_text(folder / "best.safetensors", "");
  CHECK(find_checkpoint(folder.path()) == folder / "best.safetensors");
  CHECK(find_checkpoint(folder / "any") == folder / "any");
}
