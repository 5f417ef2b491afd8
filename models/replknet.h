// RepLKNet (Ding et al., "Scaling Up Your Kernels to 31x31", CVPR 2022).
#pragma once

#include "models/blocks.h"
#include "models/config.h"

namespace replk {

/// `num_blocks` pairs of RepLK block and ConvFFN (`blocks.0`, `blocks.1`, ...) and, for an output, a batch
/// norm (`norm`).
class RepLKNetStage : public Module {
 public:
  RepLKNetStage(const RepLKNetConfig& config, std::size_t stage, const std::vector<double>& drop_paths);
  /// The output as a feature map for others: with its own norm where the configuration asks for it.
  Variable normed(const Variable& y);
  const std::vector<std::shared_ptr<RepLKBlock>>& replk_blocks() const { return replk_blocks_; }
  void fold();

 protected:
  Variable forward(const Variable& x) override;

 private:
  bool use_checkpoint_;
  std::shared_ptr<Sequential> blocks_;
  std::vector<std::shared_ptr<RepLKBlock>> replk_blocks_;
  std::vector<std::shared_ptr<ConvFFN>> ffn_blocks_;
  std::shared_ptr<BatchNorm2d> norm_;
};

/// The whole network. Input (in_channels, N, H, W), normalised; output logits (N, num_classes).
/// Children: stem.0..3, stages.0.., transitions.0.., norm, head.
class RepLKNet : public Module {
 public:
  /// Parameters get PyTorch's default initial values, keyed by (seed, name).
  explicit RepLKNet(RepLKNetConfig config, std::uint64_t seed = 0);

  const RepLKNetConfig& config() const { return config_; }
  /// Feature map of the last stage, (channels.back(), N, H / stride, W / stride).
  Variable forward_features(const Variable& x);
  /// The outputs of the stages in config().out_indices, each (C, N, h, w).
  std::vector<Variable> forward_outputs(const Variable& x);
  /// How much smaller the last map is than the image: 32 for the published presets.
  std::int64_t total_stride() const;

  /// Merges every small kernel and the two batch norms beside it into one large convolution with bias
  /// (`lkb_reparam`). Eval outputs stay the same but for rounding. Source: paper section 4, guideline 3; Ding
  /// et al. 2021 (RepVGG).
  void structural_reparam();
  /// structural_reparam, and every batch norm that has a convolution without padding beside it folded into
  /// it: those behind a convolution, each block's leading one, and the final one into the head. For
  /// deployment: eval only.
  void fold_batch_norm();

 protected:
  Variable forward(const Variable& x) override;

 private:
  Variable run(const Variable& x, std::vector<Variable>* outputs);
  void fold_head();

  RepLKNetConfig config_;
  std::shared_ptr<Sequential> stem_;
  std::vector<std::shared_ptr<RepLKNetStage>> stages_;
  std::vector<std::shared_ptr<Sequential>> transitions_;
  std::vector<std::shared_ptr<ConvBn>> conv_bns_;  // of stem and transitions
  std::shared_ptr<BatchNorm2d> norm_;
  std::shared_ptr<Linear> head_;
};

}  // namespace replk
