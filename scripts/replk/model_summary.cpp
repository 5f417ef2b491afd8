#include "scripts/replk/model_summary.h"

#include <fmt/format.h>

#include <map>

#include "core/dry_run.h"
#include "scripts/replk/table.h"
#include "scripts/replk/text.h"

namespace replk {
namespace {

// The block that a layer belongs to: "stages.0.blocks.1", "transitions.0", "stem", "norm", "head".
std::string block_of(const std::string& path) {
  const int parts = path.starts_with("stages.") ? 4 : path.starts_with("transitions.") ? 2 : 1;
  std::size_t end = 0;
  for (int i = 0; i < parts && end != path.npos; ++i) end = path.find('.', i == 0 ? 0 : end + 1);
  return path.substr(0, end);
}

// What the layers of one block have in common.
struct Block {
  LayerRow row;
  std::vector<std::string> depthwise_kernels;
  std::int64_t layers = 0, convolutions = 0;
  const Module* module = nullptr;  // of the block itself, where it is one
};

std::string kind_of(const Block& block) {
  if (dynamic_cast<const RepLKBlock*>(block.module))
    return "RepLK block " + join(block.depthwise_kernels, " + ");
  if (dynamic_cast<const ConvFFN*>(block.module)) return "ConvFFN";
  if (block.layers == 1) return block.row.kind;
  return fmt::format("{} convolutions", block.convolutions);
}

class Collector {
 public:
  void see(Module& module, const Shape& in, const Shape& out) {
    const std::string name = block_of(module.path());
    if (name.empty()) return;  // the network itself
    if (!blocks_.contains(name)) order_.push_back(name);
    Block& block = blocks_[name];
    block.row.path = name;
    block.row.output = out;
    if (module.path() == name) block.module = &module;
    if (!module.describe().empty()) add_layer(module, in, out, block);
  }

  ModelSummary take() {
    for (const std::string& name : order_) {
      Block& block = blocks_[name];
      if (block.layers == 0) continue;  // a container of blocks
      block.row.kind = kind_of(block);
      summary_.blocks.push_back(block.row);
    }
    return std::move(summary_);
  }

 private:
  void add_layer(Module& module, const Shape& in, const Shape& out, Block& block) {
    const LayerRow row{.path = module.path(),
                       .kind = module.describe(),
                       .output = out,
                       .parameters = module.parameter_count(),
                       .macs = module.macs(in, out)};
    block.row.kind = row.kind;
    block.row.parameters += row.parameters;
    block.row.macs += row.macs;
    ++block.layers;
    summary_.macs += row.macs;
    if (const auto* conv = dynamic_cast<const Conv2d*>(&module)) {
      ++block.convolutions;
      if (conv->depthwise()) {
        summary_.depthwise_macs += row.macs;
        block.depthwise_kernels.push_back(str(conv->options().kernel));
      } else if (conv->options().kernel == Extent2d(1)) {
        summary_.pointwise_macs += row.macs;
      }
    }
    summary_.layers.push_back(row);
  }

  ModelSummary summary_;
  std::vector<std::string> order_;
  std::map<std::string, Block> blocks_;
};

}  // namespace

std::int64_t usual_image_size(const RepLKNetConfig& config) {
  const std::int64_t stem = config.stem_strides[0] * config.stem_strides[1];
  return stem << (config.channels.size() - 1) >= 16 ? 224 : 28;
}

std::string describe_config(const RepLKNetConfig& config) {
  const auto numbers = [](const std::vector<std::int64_t>& values) {
    return fmt::format("{}", fmt::join(values, " "));
  };
  const char* form = config.batch_norm_folded     ? "merged, batch norms folded"
                     : config.small_kernel_merged ? "merged"
                                                  : "training-time";
  Table table({{"kernels"}, {numbers(config.large_kernel_sizes)}});
  if (!config.small_kernel_merged)
    table.add({"small kernel", config.small_kernel > 0 ? std::to_string(config.small_kernel) : "none"});
  table.add({"blocks", numbers(config.layers)});
  table.add({"channels", numbers(config.channels)});
  table.add({"widths", fmt::format("depth-wise x{:g}, hidden x{:g}", config.dw_ratio, config.ffn_ratio)});
  table.add({"stem strides", numbers(config.stem_strides)});
  table.add({"input", fmt::format("{} channels", config.in_channels)});
  table.add(
      {"output", config.num_classes > 0 ? fmt::format("{} classes", config.num_classes) : "feature maps"});
  table.add({"form", form});
  return table.text();
}

ModelSummary summarize(const RepLKNetConfig& config, std::int64_t height, std::int64_t width) {
  const DryRun dry;  // shapes are all that is wanted
  RepLKNet model(config);
  model.eval();
  Collector collector;
  {
    const ModuleObserver observer([&](Module& module, const Variable& in, const Variable& out) {
      collector.see(module, in.shape(), out.shape());
    });
    model(Tensor::empty({config.in_channels, 1, height, width}));
  }
  ModelSummary summary = collector.take();
  summary.parameters = model.parameter_count();
  return summary;
}

}  // namespace replk
