#include "models/replknet.h"

#include <cmath>

#include "ops/avg_pool2d/avg_pool2d.h"
#include "ops/flatten/flatten.h"

namespace replk {
namespace {

// Children under names of their own, never run as a whole: `stages`, `transitions`.
class ModuleList : public Module {
 public:
  template <class M>
  std::shared_ptr<M> append(std::shared_ptr<M> module) {
    return add_child(std::to_string(count_++), module);
  }

 protected:
  Variable forward(const Variable&) override { throw Error("ModuleList: has no forward of its own."); }

 private:
  int count_ = 0;
};

std::int64_t scaled(std::int64_t channels, double ratio) {
  return static_cast<std::int64_t>(static_cast<double>(channels) * ratio);
}

}  // namespace

RepLKNetStage::RepLKNetStage(const RepLKNetConfig& config, std::size_t stage,
                             const std::vector<double>& drop_paths)
    : use_checkpoint_(config.use_checkpoint), blocks_(add_child("blocks", std::make_shared<Sequential>())) {
  const std::int64_t channels = config.channels[stage];
  for (const double drop_path : drop_paths) {
    const BlockOptions options{.drop_path = drop_path,
                               .shortcut = config.shortcut,
                               .merged = config.small_kernel_merged,
                               .folded = config.batch_norm_folded};
    replk_blocks_.push_back(blocks_->append(
        std::make_shared<RepLKBlock>(channels, scaled(channels, config.dw_ratio),
                                     config.large_kernel_sizes[stage], config.small_kernel, options)));
    ffn_blocks_.push_back(
        blocks_->append(std::make_shared<ConvFFN>(channels, scaled(channels, config.ffn_ratio), options)));
  }
  if (config.norm_intermediate_features) norm_ = add_child("norm", std::make_shared<BatchNorm2d>(channels));
}

Variable RepLKNetStage::forward(const Variable& x) {
  if (!use_checkpoint_ || !training()) return (*blocks_)(x);
  Variable y = x;
  for (std::size_t i = 0; i < blocks_->size(); ++i) {
    Module& block = (*blocks_)[i];
    y = checkpoint([&block](const Variable& input) { return block(input); }, y);
  }
  return y;
}

Variable RepLKNetStage::normed(const Variable& y) { return norm_ ? (*norm_)(y) : y; }

void RepLKNetStage::fold() {
  for (const auto& block : replk_blocks_) block->fold();
  for (const auto& block : ffn_blocks_) block->fold();
}

RepLKNet::RepLKNet(RepLKNetConfig config, std::uint64_t seed) : config_(std::move(config)) {
  validate(config_);
  const bool bn = !config_.batch_norm_folded;
  const std::int64_t width = config_.channels[0];
  const auto conv_bn_relu = [&](Sequential& list, ConvBn::Options options) {
    options.activation = Activation::relu;
    options.bn = bn;
    conv_bns_.push_back(list.append(std::make_shared<ConvBn>(options)));
  };
  stem_ = add_child("stem", std::make_shared<Sequential>());
  conv_bn_relu(*stem_, {.in_channels = config_.in_channels,
                        .out_channels = width,
                        .kernel = 3,
                        .stride = config_.stem_strides[0]});
  conv_bn_relu(*stem_, {.in_channels = width, .out_channels = width, .kernel = 3, .groups = width});
  conv_bn_relu(*stem_, {.in_channels = width, .out_channels = width});
  conv_bn_relu(*stem_, {.in_channels = width,
                        .out_channels = width,
                        .kernel = 3,
                        .stride = config_.stem_strides[1],
                        .groups = width});

  std::int64_t depth = 0, block = 0;
  for (const std::int64_t layers : config_.layers) depth += layers;
  const auto stages = add_child("stages", std::make_shared<ModuleList>());
  const auto transitions = add_child("transitions", std::make_shared<ModuleList>());
  for (std::size_t stage = 0; stage < config_.channels.size(); ++stage) {
    std::vector<double> drop_paths;
    for (std::int64_t i = 0; i < config_.layers[stage]; ++i, ++block)
      drop_paths.push_back(depth > 1 ? config_.drop_path_rate * static_cast<double>(block) /
                                           static_cast<double>(depth - 1)
                                     : 0);
    stages_.push_back(stages->append(std::make_shared<RepLKNetStage>(config_, stage, drop_paths)));
    if (stage + 1 == config_.channels.size()) break;
    const std::int64_t in = config_.channels[stage], out = config_.channels[stage + 1];
    transitions_.push_back(transitions->append(std::make_shared<Sequential>()));
    conv_bn_relu(*transitions_.back(), {.in_channels = in, .out_channels = out});
    conv_bn_relu(*transitions_.back(),
                 {.in_channels = out, .out_channels = out, .kernel = 3, .stride = 2, .groups = out});
  }
  if (config_.num_classes > 0) {
    if (bn) norm_ = add_child("norm", std::make_shared<BatchNorm2d>(config_.channels.back()));
    head_ = add_child("head", std::make_shared<Linear>(config_.channels.back(), config_.num_classes));
  }
  name_tree();
  initialize(*this, seed);
}

Variable RepLKNet::run(const Variable& x, std::vector<Variable>* outputs) {
  check(x.data().rank() == 4 && x.data().size(0) == config_.in_channels, "RepLKNet: input (",
        config_.in_channels, ", N, H, W) expected, got ", x.shape(),
        ". Images are channel first: use normalize_images.");
  Variable y = (*stem_)[0](x);
  for (std::size_t i = 1; i < stem_->size(); ++i) {
    Module& layer = (*stem_)[i];
    y = config_.use_checkpoint && training()
            ? checkpoint([&layer](const Variable& input) { return layer(input); }, y)
            : layer(y);
  }
  for (std::size_t stage = 0; stage < stages_.size(); ++stage) {
    y = (*stages_[stage])(y);
    if (outputs)
      for (const std::int64_t index : config_.out_indices)
        if (index == static_cast<std::int64_t>(stage)) outputs->push_back(stages_[stage]->normed(y));
    if (stage < transitions_.size()) y = (*transitions_[stage])(y);
  }
  return y;
}

Variable RepLKNet::forward_features(const Variable& x) { return run(x, nullptr); }

std::vector<Variable> RepLKNet::forward_outputs(const Variable& x) {
  check(!config_.out_indices.empty(), "RepLKNet: no outputs asked for. Set out_indices.");
  std::vector<Variable> outputs;
  run(x, &outputs);
  return outputs;
}

Variable RepLKNet::forward(const Variable& x) {
  Variable y = run(x, nullptr);
  if (!head_) return y;
  if (norm_) y = (*norm_)(y);
  return (*head_)(flatten(adaptive_avg_pool2d(y, 1)));
}

std::int64_t RepLKNet::total_stride() const {
  return config_.stem_strides[0] * config_.stem_strides[1] << transitions_.size();
}

}  // namespace replk
