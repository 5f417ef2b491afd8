#include "models/depth.h"

#include <map>

#include "models/replknet.h"
#include "optim/flat_parameters.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

TEST_CASE("models/depth/published_grouping") {
  const RepLKNetConfig config = preset("replknet-31b");
  CHECK(depth_groups(config) == 14);
  const std::map<std::string, std::int64_t> expected = {{"stem.0.conv.weight", 0},
                                                        {"stem.3.bn.bias", 0},
                                                        {"stages.0.blocks.0.pw1.conv.weight", 1},
                                                        {"stages.0.blocks.3.pw2.bn.weight", 1},
                                                        {"transitions.0.1.conv.weight", 1},
                                                        {"stages.1.blocks.3.pw1.conv.weight", 2},
                                                        {"transitions.1.0.bn.bias", 2},
                                                        {"stages.2.blocks.0.prelkb_bn.weight", 3},
                                                        {"stages.2.blocks.3.pw1.conv.weight", 3},
                                                        {"stages.2.blocks.4.pw1.conv.weight", 4},
                                                        {"stages.2.blocks.17.pw1.conv.weight", 7},
                                                        {"stages.2.blocks.31.pw1.conv.weight", 10},
                                                        {"stages.2.blocks.35.pw1.conv.weight", 11},
                                                        {"transitions.2.0.conv.weight", 11},
                                                        {"stages.3.blocks.0.pw1.conv.weight", 12},
                                                        {"stages.3.blocks.3.pw2.bn.bias", 12},
                                                        {"norm.weight", 13},
                                                        {"head.bias", 13}};
  for (const auto& [name, group] : expected) {
    INFO(name);
    CHECK(depth_group(config, name) == group);
  }
}

TEST_CASE("models/depth/every_preset_and_every_parameter") {
  for (const char* name : {"replknet-nano", "replknet-tiny", "replknet-small"}) {
    const RepLKNetConfig config = preset(name);
    RepLKNet model(config);
    const std::int64_t groups = depth_groups(config);
    std::int64_t largest = 0;
    for (const Parameter* parameter : model.parameters()) {
      const std::int64_t group = depth_group(config, parameter->name);
      CHECK(group >= 0);
      largest = std::max(largest, group);
    }
    CHECK(largest == groups - 1);
  }
  CHECK(depth_groups(preset("replknet-nano")) == 4);   // stem, two stages, head
  CHECK(depth_groups(preset("replknet-small")) == 6);  // ten blocks in the second stage: three groups
  CHECK(depth_group(preset("replknet-small"), "stages.1.blocks.9.pw1.conv.weight") == 4);
  CHECK(depth_group(preset("replknet-small"), "stages.1.blocks.7.pw1.conv.weight") == 3);
  RepLKNetConfig empty = preset("replknet-nano");
  empty.layers = {0, 1};
  CHECK(depth_group(empty, "transitions.0.0.conv.weight") == 1);
  CHECK(depth_group(empty, "stages.1.blocks.0.pw1.conv.weight") == 2);
  empty.norm_intermediate_features = true;
  CHECK(depth_group(empty, "stages.1.norm.weight") == 2);
}

TEST_CASE("models/depth/learning_rates_of_a_fine_tuning") {
  RepLKNet model(preset("replknet-tiny"));
  const auto& config = model.config();
  const auto groups = layer_decay_groups(model.parameters(), 0.05, 0.7, depth_groups(config),
                                         [&](const std::string& name) { return depth_group(config, name); });
  const FlatParameters flat(groups);
  for (const auto& segment : flat.segments()) {
    const std::string& name = segment.parameter->name;
    INFO(name);
    const double scale = name.starts_with("head") || name.starts_with("norm") ? 1
                         : name.starts_with("stages.1")                       ? 0.7
                         : name.starts_with("stem")                           ? 0.7 * 0.7 * 0.7
                                                                              : 0.7 * 0.7;
    CHECK(segment.lr_scale == Approx(scale));
    CHECK(segment.weight_decay == (segment.parameter->data.rank() > 1 ? 0.05 : 0));
  }
}

TEST_CASE("models/depth/errors") {
  const RepLKNetConfig config = preset("replknet-tiny");
  for (const char* name : {"", "stages", "stages.2.blocks.0.x", "stages.0.blocks.4.x", "stages.x.blocks.0.y",
                           "transitions.1.0.x", "features.0"}) {
    INFO(name);
    check_error([&] { depth_group(config, name); }, {"depth_group", name});
  }
}
