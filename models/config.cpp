#include "models/config.h"

#include <algorithm>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/nearest_name.h"

namespace replk {
namespace {

using Json = nlohmann::ordered_json;

// One option: how it is read from JSON and written to it.
struct Option {
  std::function<void(RepLKNetConfig&, const Json&)> read;
  std::function<Json(const RepLKNetConfig&)> write;
};

template <class T>
Option option(T RepLKNetConfig::*member) {
  return {[member](RepLKNetConfig& config, const Json& value) {
            config.*member = value.is_null() ? T{} : value.get<T>();
          },
          [member](const RepLKNetConfig& config) { return Json(config.*member); }};
}

const std::vector<std::pair<std::string, Option>>& options() {
  using C = RepLKNetConfig;
  static const std::vector<std::pair<std::string, Option>> kOptions = {
      {"large_kernel_sizes", option(&C::large_kernel_sizes)},
      {"layers", option(&C::layers)},
      {"channels", option(&C::channels)},
      {"drop_path_rate", option(&C::drop_path_rate)},
      {"small_kernel", option(&C::small_kernel)},
      {"shortcut", option(&C::shortcut)},
      {"dw_ratio", option(&C::dw_ratio)},
      {"ffn_ratio", option(&C::ffn_ratio)},
      {"in_channels", option(&C::in_channels)},
      {"num_classes", option(&C::num_classes)},
      {"stem_strides", option(&C::stem_strides)},
      {"out_indices", option(&C::out_indices)},
      {"norm_intermediate_features", option(&C::norm_intermediate_features)},
      {"use_checkpoint", option(&C::use_checkpoint)},
      {"small_kernel_merged", option(&C::small_kernel_merged)},
      {"batch_norm_folded", option(&C::batch_norm_folded)},
  };
  return kOptions;
}

const std::map<std::string, RepLKNetConfig>& presets() {
  using C = RepLKNetConfig;
  // The published models: paper section 4.1 and appendix; -3 to -25 are 31B with another kernel in every
  // stage (section 4.2), never larger than the 13 of its last stage there.
  const C base{};
  const auto kernels = [&](std::vector<std::int64_t> sizes) {
    C config = base;
    config.large_kernel_sizes = std::move(sizes);
    return config;
  };
  C large = base;
  large.channels = {192, 384, 768, 1536};
  C xl = kernels({27, 27, 27, 13});
  xl.channels = {256, 512, 1024, 2048};
  xl.small_kernel = 0;
  xl.dw_ratio = 1.5;
  // For small images: half resolution after the stem (14x14 for 28 pixels), a quarter in the second stage. A
  // 13x13 kernel covers such maps, which the paper found useful even at 7x7 (guideline 5).
  C three = kernels({3, 3, 3, 3});
  three.small_kernel = 0;  // a 5x5 branch would be larger than the kernel it is to help
  C small{.large_kernel_sizes = {13, 13},
          .layers = {2, 5},
          .channels = {64, 128},
          .drop_path_rate = 0.1,
          .in_channels = 1,
          .num_classes = 10,
          .stem_strides = {2, 1}};
  C tiny = small;
  tiny.layers = {2, 2};
  tiny.channels = {48, 96};
  tiny.drop_path_rate = 0.05;
  C nano = small;
  nano.layers = {1, 1};
  nano.channels = {40, 72};
  nano.drop_path_rate = 0;
  static const std::map<std::string, C> kPresets = {
      {"replknet-31b", base},
      {"replknet-31l", large},
      {"replknet-xl", xl},
      {"replknet-3", three},
      {"replknet-7", kernels({7, 7, 7, 7})},
      {"replknet-13", kernels({13, 13, 13, 13})},
      {"replknet-25", kernels({25, 25, 25, 13})},
      {"replknet-nano", nano},
      {"replknet-tiny", tiny},
      {"replknet-small", small},
  };
  return kPresets;
}

}  // namespace

void validate(const RepLKNetConfig& c) {
  const std::size_t stages = c.channels.size();
  check(stages >= 1 && c.large_kernel_sizes.size() == stages && c.layers.size() == stages,
        "RepLKNet: channels, layers and large_kernel_sizes need one entry per stage, got ", stages, ", ",
        c.layers.size(), " and ", c.large_kernel_sizes.size(), ".");
  for (std::size_t i = 0; i < stages; ++i) {
    check(c.channels[i] >= 1 && c.layers[i] >= 0, "RepLKNet: stage ", i, " has ", c.channels[i],
          " channels and ", c.layers[i], " layers.");
    check(c.large_kernel_sizes[i] >= 1 && c.large_kernel_sizes[i] % 2 == 1,
          "RepLKNet: large_kernel_sizes must be odd, stage ", i, " has ", c.large_kernel_sizes[i], ".");
    check(c.small_kernel == 0 || c.small_kernel <= c.large_kernel_sizes[i], "RepLKNet: small_kernel ",
          c.small_kernel, " is larger than the kernel of stage ", i, " (", c.large_kernel_sizes[i],
          "). Use small_kernel 0 for none.");
  }
  check(c.small_kernel == 0 || c.small_kernel % 2 == 1, "RepLKNet: small_kernel must be odd or 0, got ",
        c.small_kernel, ".");
  check(c.drop_path_rate >= 0 && c.drop_path_rate < 1, "RepLKNet: drop_path_rate in [0, 1) expected, got ",
        c.drop_path_rate, ".");
  check(c.dw_ratio > 0 && c.ffn_ratio > 0, "RepLKNet: dw_ratio and ffn_ratio must be positive.");
  check(c.in_channels >= 1 && c.num_classes >= 0, "RepLKNet: in_channels ", c.in_channels, ", num_classes ",
        c.num_classes, ".");
  check(c.stem_strides.size() == 2 && c.stem_strides[0] >= 1 && c.stem_strides[1] >= 1,
        "RepLKNet: stem_strides needs two strides of at least 1.");
  for (const std::int64_t index : c.out_indices)
    check(index >= 0 && index < static_cast<std::int64_t>(stages), "RepLKNet: out_indices has stage ", index,
          " of ", stages, ".");
}

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const auto& [name, config] : presets()) names.push_back(name);
  return names;
}

RepLKNetConfig preset(const std::string& name) {
  const auto found = presets().find(name);
  if (found == presets().end())
    throw UsageError(
        str("model: there is no '", name, "'. Did you mean '", nearest_name(name, preset_names()), "'?"));
  return found->second;
}

std::string to_json(const RepLKNetConfig& config) {
  Json object;
  for (const auto& [name, entry] : options()) object[name] = entry.write(config);
  return object.dump();
}

RepLKNetConfig config_from_json(const std::string& text, const RepLKNetConfig& base) {
  const Json object = Json::parse(text, nullptr, false);
  if (!object.is_object()) throw UsageError("model configuration: a JSON object expected.");
  RepLKNetConfig config = base;
  for (const auto& [key, value] : object.items()) {
    const auto found = std::find_if(options().begin(), options().end(),
                                    [&](const auto& entry) { return entry.first == key; });
    if (found == options().end()) {
      std::vector<std::string> names;
      for (const auto& entry : options()) names.push_back(entry.first);
      throw UsageError(str("model configuration: unknown option '", key, "'. Did you mean '",
                           nearest_name(key, names), "'?"));
    }
    try {
      found->second.read(config, value);
    } catch (const nlohmann::json::exception&) {
      throw UsageError(str("model configuration: '", key, "' cannot be ", value.dump(), "."));
    }
  }
  return config;
}

}  // namespace replk
