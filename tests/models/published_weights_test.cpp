// Which network weights are of, from names and shapes alone.
#include "models/published_weights.h"

#include <cmath>

#include "models/replknet.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

namespace {

using Tensors = std::map<std::string, Tensor>;

Tensors weights_of(RepLKNet& model) {
  Tensors tensors;
  for (const NamedTensor& entry : model.state()) tensors[entry.name] = entry.tensor;
  return tensors;
}

// A small network with everything that leaves a trace.
RepLKNetConfig four_stages() {
  return {.large_kernel_sizes = {9, 7, 5, 3},
          .layers = {1, 2, 1, 1},
          .channels = {6, 8, 10, 14},
          .drop_path_rate = 0,
          .small_kernel = 3,
          .dw_ratio = 1.5,
          .ffn_ratio = 2,
          .num_classes = 7};
}

Tensors renamed(const Tensors& tensors, const std::string& prefix) {
  Tensors result;
  for (const auto& [name, tensor] : tensors) result[prefix + name] = tensor;
  return result;
}

}  // namespace

TEST_CASE("models/published_weights/a_configuration_is_seen_in_its_weights") {
  std::vector<RepLKNetConfig> configs(5, four_stages());
  configs[1].small_kernel = 0, configs[1].in_channels = 1;
  configs[2].num_classes = 0;
  configs[3].num_classes = 0, configs[3].norm_intermediate_features = true,
  configs[3].out_indices = {0, 1, 2, 3};
  // 61 / 7 * 7 is 60.99...: the ratio must be the next one up.
  configs[4].channels = {7, 8, 10, 14}, configs[4].dw_ratio = 5.0 / 7,
  configs[4].ffn_ratio = std::nextafter(61.0 / 7, 62);
  for (const RepLKNetConfig& config : configs) {
    RepLKNet model(config);
    const InferredConfig inferred = infer_config(weights_of(model));
    INFO(to_json(inferred.config));
    CHECK(inferred.preset.empty());
    CHECK(inferred.strides_known);
    CHECK(inferred.config.small_kernel == config.small_kernel);
    CHECK(inferred.config.norm_intermediate_features == config.norm_intermediate_features);
    CHECK(inferred.config.out_indices == config.out_indices);
    RepLKNet again(inferred.config);
    CHECK_NOTHROW(again.load_state_strictly(weights_of(model), "inferred"));

    model.structural_reparam();
    const RepLKNetConfig merged = infer_config(weights_of(model)).config;
    CHECK(merged.small_kernel_merged);
    CHECK_FALSE(merged.batch_norm_folded);
    CHECK_NOTHROW(RepLKNet(merged).load_state_strictly(weights_of(model), "merged"));
    model.fold_batch_norm();
    const RepLKNetConfig folded = infer_config(weights_of(model)).config;
    CHECK(folded.batch_norm_folded);
    CHECK_NOTHROW(RepLKNet(folded).load_state_strictly(weights_of(model), "folded"));
  }
}

TEST_CASE("models/published_weights/presets_are_recognised") {
  for (const char* name : {"replknet-nano", "replknet-tiny", "replknet-small"}) {
    RepLKNetConfig config = preset(name);
    config.num_classes = 100, config.in_channels = 3;
    RepLKNet model(config);
    for (const bool merged : {false, true}) {
      if (merged) model.structural_reparam();
      const InferredConfig inferred = infer_config(weights_of(model));
      CHECK(inferred.preset == name);
      CHECK(inferred.config == model.config());
    }
  }
  RepLKNetConfig two = preset("replknet-nano");
  two.channels = {40, 80};
  RepLKNet model(two);
  CHECK_FALSE(infer_config(weights_of(model)).strides_known);
}

TEST_CASE("models/published_weights/other_weights_are_refused") {
  RepLKNet model(four_stages());
  const Tensors good = weights_of(model);
  const auto refused = [&](const std::string& without, const std::vector<std::string>& parts) {
    Tensors tensors = good;
    std::erase_if(tensors, [&](const auto& entry) { return entry.first.starts_with(without); });
    check_error([&] { infer_config(tensors); }, parts);
  };
  check_error([] { infer_config({}); }, {"not the weights of a RepLKNet", "stem.0.conv.weight"});
  refused("stem.0", {"stem.0.conv.weight"});
  refused("transitions.1.0", {"transitions.1.0.conv.weight"});
  refused("stages.2.blocks.0", {"stages.2.blocks.0.large_kernel"});
  refused("stages.0.blocks.0.pw1", {"stages.0.blocks.0.pw1.conv.weight"});
  Tensors flat = good;
  flat["stem.0.conv.weight"] = Tensor::zeros({6});
  check_error([&] { infer_config(flat); }, {"stem.0.conv.weight", "(6)"});
  flat["stem.0.conv.weight"] = Tensor::zeros({0, 3, 3, 3});
  check_error([&] { infer_config(flat); }, {"no channels"});
}

TEST_CASE("models/published_weights/prefixes_and_counters") {
  RepLKNet model(four_stages());
  const Tensors good = weights_of(model);
  CHECK(with_published_names(good).notes.empty());
  const auto same_names = [&](const Tensors& tensors) {
    return std::equal(tensors.begin(), tensors.end(), good.begin(), good.end(),
                      [](const auto& a, const auto& b) { return a.first == b.first; });
  };
  PublishedWeights in_module = with_published_names(renamed(good, "module."));
  CHECK(same_names(in_module.tensors));
  CHECK(in_module.notes.size() == 1);

  Tensors detector = renamed(good, "module.backbone.");
  detector["module.decode_head.weight"] = Tensor::zeros({1});
  const PublishedWeights backbone = with_published_names(detector);
  CHECK(same_names(backbone.tensors));
  CHECK(backbone.notes.size() == 2);
  CHECK(backbone.notes[1].find("1 tensors") != std::string::npos);

  Tensors uncounted = good;
  std::erase_if(uncounted, [](const auto& entry) { return entry.first.ends_with("num_batches_tracked"); });
  CHECK(uncounted.size() < good.size());
  CHECK(same_names(with_published_names(uncounted).tensors));

  Tensors mixed = renamed(good, "module.");  // then "module." is a part of the names
  mixed["other"] = Tensor::zeros({1});
  CHECK(with_published_names(mixed).tensors.size() == mixed.size());
  CHECK(with_published_names(mixed).notes.empty());
}
