#include "models/published_weights.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"

namespace replk {
namespace {

using Tensors = std::map<std::string, Tensor>;

// The shape of one convolution's weight, by the name of the layer: "x" is "x.conv.weight", with or without a
// batch norm behind it.
Shape conv_shape(const Tensors& tensors, const std::string& layer) {
  const std::string name = layer + ".conv.weight";
  const auto found = tensors.find(name);
  if (found == tensors.end())
    throw Error(str("not the weights of a RepLKNet: '", name, "' expected, there is none."));
  check(found->second.rank() == 4, "not the weights of a RepLKNet: '", name,
        "': (out, in, height, width) expected, got ", found->second.shape(), ".");
  return found->second.shape();
}

bool any_with_prefix(const Tensors& tensors, const std::string& prefix) {
  const auto found = tensors.lower_bound(prefix);
  return found != tensors.end() && found->first.starts_with(prefix);
}

std::string block_name(std::size_t stage, std::int64_t block) {
  return str("stages.", stage, ".blocks.", block);
}

// What leaves a trace whatever the user says.
void infer_form(const Tensors& tensors, RepLKNetConfig& config) {
  config.in_channels = conv_shape(tensors, "stem.0")[1];
  const auto head = tensors.find("head.weight");
  config.num_classes = head == tensors.end()              ? 0
                       : head->second.shape().rank() == 2 ? head->second.size(0)
                                                          : 1;
  config.small_kernel_merged = tensors.contains("stages.0.blocks.0.large_kernel.lkb_reparam.weight");
  config.batch_norm_folded = !any_with_prefix(tensors, "stem.0.bn.");
  config.norm_intermediate_features = any_with_prefix(tensors, "stages.0.norm.");
  config.out_indices.clear();
  if (config.norm_intermediate_features)
    for (std::size_t stage = 0; stage < config.channels.size(); ++stage)
      config.out_indices.push_back(static_cast<std::int64_t>(stage));
}

// The ratio that makes `wide` of `narrow` channels, when multiplied and cut to a whole number.
double ratio_of(std::int64_t wide, std::int64_t narrow) {
  double ratio = static_cast<double>(wide) / static_cast<double>(narrow);
  if (static_cast<std::int64_t>(ratio * static_cast<double>(narrow)) < wide)
    ratio = std::nextafter(ratio, static_cast<double>(wide + 1));
  return ratio;
}

void infer_stage(const Tensors& tensors, std::size_t stage, RepLKNetConfig& config) {
  std::int64_t pairs = 0;
  while (any_with_prefix(tensors, block_name(stage, 2 * pairs) + ".large_kernel.")) ++pairs;
  check(pairs > 0, "not the weights of a RepLKNet: '", block_name(stage, 0),
        ".large_kernel' expected, there is none.");
  config.layers.push_back(pairs);
  const std::string kernel = block_name(stage, 0) + ".large_kernel.";
  if (const auto merged = tensors.find(kernel + "lkb_reparam.weight"); merged != tensors.end()) {
    check(merged->second.rank() == 4, "not the weights of a RepLKNet: '", merged->first,
          "': 4 axes expected, got ", merged->second.shape(), ".");
    config.large_kernel_sizes.push_back(merged->second.size(2));
  } else {
    config.large_kernel_sizes.push_back(conv_shape(tensors, kernel + "lkb_origin")[2]);
  }
}

// Presets differ from weights in what weights do not show.
bool agrees(RepLKNetConfig preset, const RepLKNetConfig& config) {
  preset.drop_path_rate = config.drop_path_rate;
  preset.in_channels = config.in_channels;
  preset.num_classes = config.num_classes;
  preset.stem_strides = config.stem_strides;
  preset.out_indices = config.out_indices;
  preset.norm_intermediate_features = config.norm_intermediate_features;
  preset.small_kernel_merged = config.small_kernel_merged;
  preset.batch_norm_folded = config.batch_norm_folded;
  if (config.small_kernel_merged) preset.small_kernel = config.small_kernel;  // it is inside the large one
  return preset == config;
}

}  // namespace

PublishedWeights with_published_names(Tensors tensors) {
  PublishedWeights result;
  const auto strip = [&](const std::string& prefix) {
    Tensors stripped;
    for (auto& [name, tensor] : tensors)
      if (name.starts_with(prefix)) stripped.emplace(name.substr(prefix.size()), std::move(tensor));
    const std::size_t others = tensors.size() - stripped.size();
    result.notes.push_back(str("names without their '", prefix, "'",
                               others > 0 ? str("; ", others, " tensors beside them left out") : ""));
    tensors = std::move(stripped);
  };
  const auto in_module = [](const auto& entry) { return entry.first.starts_with("module."); };
  if (!tensors.empty() && std::all_of(tensors.begin(), tensors.end(), in_module)) strip("module.");
  if (any_with_prefix(tensors, "backbone.stem.")) strip("backbone.");
  std::vector<std::string> uncounted;
  for (const auto& [name, tensor] : tensors)
    if (constexpr std::string_view kMean = "running_mean"; name.ends_with(kMean))
      if (std::string counter = name.substr(0, name.size() - kMean.size()) + "num_batches_tracked";
          !tensors.contains(counter))
        uncounted.push_back(std::move(counter));
  for (const std::string& counter : uncounted) tensors.emplace(counter, Tensor::zeros({}, DType::i64));
  if (!uncounted.empty())
    result.notes.push_back(str(uncounted.size(), " batch norms without a counter of batches: set to 0"));
  result.tensors = std::move(tensors);
  return result;
}

InferredConfig infer_config(const Tensors& tensors) {
  InferredConfig result;
  RepLKNetConfig& config = result.config;
  config = {.large_kernel_sizes = {},
            .layers = {},
            .channels = {conv_shape(tensors, "stem.0")[0]},
            .drop_path_rate = 0};
  while (any_with_prefix(tensors, str("transitions.", config.channels.size() - 1, ".")))
    config.channels.push_back(conv_shape(tensors, str("transitions.", config.channels.size() - 1, ".0"))[0]);
  for (std::size_t stage = 0; stage < config.channels.size(); ++stage) infer_stage(tensors, stage, config);
  infer_form(tensors, config);
  const Shape pw1 = conv_shape(tensors, block_name(0, 0) + ".pw1"),
              ffn = conv_shape(tensors, block_name(0, 1) + ".pw1");
  check(config.channels[0] > 0, "not the weights of a RepLKNet: 'stem.0.conv.weight' has no channels.");
  config.dw_ratio = ratio_of(pw1[0], config.channels[0]);
  config.ffn_ratio = ratio_of(ffn[0], config.channels[0]);
  const std::string small = block_name(0, 0) + ".large_kernel.small_conv";
  config.small_kernel = any_with_prefix(tensors, small) ? conv_shape(tensors, small)[2] : 0;

  for (const std::string& name : preset_names())
    if (const RepLKNetConfig known = preset(name); agrees(known, config)) {
      config.stem_strides = known.stem_strides;
      config.drop_path_rate = known.drop_path_rate;
      config.small_kernel = known.small_kernel;
      result.preset = name;
      return result;
    }
  constexpr std::size_t kPublishedStages = 4;
  result.strides_known = config.channels.size() == kPublishedStages;
  return result;
}

RepLKNetConfig adapt_config(RepLKNetConfig base, const Tensors& tensors) {
  const std::vector<std::int64_t> outputs = base.out_indices;
  infer_form(tensors, base);
  if (!outputs.empty()) base.out_indices = outputs;
  return base;
}

}  // namespace replk
