// The building blocks of RepLKNet, with the names of the published PyTorch model.
#pragma once

#include "nn/layers.h"

namespace replk {

/// conv -> bn -> activation (names `conv`, `bn`), bn and activation each optional. Without bn the convolution
/// has a bias: that is what remains after the batch norm was folded into it.
class ConvBn : public Module {
 public:
  struct Options {
    std::int64_t in_channels, out_channels;
    std::int64_t kernel = 1, stride = 1, groups = 1;  // padding = kernel / 2
    Activation activation = Activation::none;
    bool bn = true;
  };
  explicit ConvBn(Options options);

  /// The convolution with its batch norm (in eval mode) multiplied in: weight like conv.weight, and a bias;
  /// what the activation is applied to.
  struct Fused {
    std::vector<double> weight, bias;
  };
  Fused fused() const;
  /// Replaces conv and bn by one convolution with bias; exact in eval mode. Does nothing when that is done
  /// already. `before` is a batch norm that ran on the input: it moves into the weights too, which is exact
  /// only for a convolution without padding (1x1) and without groups.
  void fold(const BatchNorm2d* before = nullptr);
  const Options& options() const { return options_; }
  Conv2d& conv() { return *conv_; }

 protected:
  Variable forward(const Variable& x) override;

 private:
  Options options_;
  std::shared_ptr<Conv2d> conv_;
  std::shared_ptr<BatchNorm2d> bn_;  // null without
};

/// The re-parameterized large kernel (paper section 4, guideline 3): in training a K x K depth-wise conv-bn
/// (`lkb_origin`) plus a small one (`small_conv`, optional), summed; merged, one K x K convolution with bias
/// (`lkb_reparam`) that gives the same outputs in eval mode.
class ReparamLargeKernelConv : public Module {
 public:
  /// small_kernel 0: no small branch. `relu`: of the sum of the branches.
  ReparamLargeKernelConv(std::int64_t channels, std::int64_t kernel, std::int64_t small_kernel, bool merged,
                         bool relu = false);
  bool merged() const { return reparam_ != nullptr; }
  /// What merge() adds up: each branch with its batch norm multiplied in, weights (channels, K, K). The small
  /// kernel has zeros around it, and is all zeros where there is none. Throws Error once merged.
  struct Branches {
    ConvBn::Fused large, small;
  };
  Branches branches() const;
  std::int64_t kernel() const { return kernel_; }
  std::int64_t small_kernel() const { return small_kernel_; }
  void merge();

 protected:
  Variable forward(const Variable& x) override;

 private:
  std::int64_t channels_, kernel_, small_kernel_;
  std::shared_ptr<Conv2d> make_reparam() const;
  bool relu_;
  std::shared_ptr<ConvBn> origin_, small_;
  std::shared_ptr<Conv2d> reparam_;
};

/// What blocks share: how far the model has been merged, and the drop path of this depth.
struct BlockOptions {
  double drop_path = 0;
  bool shortcut = true;  // y = x + drop_path(f(x)); without it y = f(x), and no drop path
  bool merged = false;   // small kernels and their batch norms are merged into lkb_reparam
  bool folded = false;   // every other batch norm is folded into a convolution too
};

/// BN, 1x1-BN-ReLU, large kernel, ReLU, 1x1-BN, drop path, shortcut (paper figure 2).
class RepLKBlock : public Module {
 public:
  RepLKBlock(std::int64_t channels, std::int64_t dw_channels, std::int64_t kernel, std::int64_t small_kernel,
             BlockOptions options);
  ReparamLargeKernelConv& large_kernel() { return *large_kernel_; }
  void fold();

 protected:
  Variable forward(const Variable& x) override;

 private:
  std::shared_ptr<ConvBn> pw1_, pw2_;
  std::shared_ptr<ReparamLargeKernelConv> large_kernel_;
  std::shared_ptr<BatchNorm2d> prelkb_bn_;
  std::shared_ptr<DropPath> drop_path_;  // null without a shortcut
};

/// BN, 1x1-BN, GELU, 1x1-BN, drop path, shortcut (paper figure 2).
class ConvFFN : public Module {
 public:
  ConvFFN(std::int64_t channels, std::int64_t hidden_channels, BlockOptions options);
  void fold();

 protected:
  Variable forward(const Variable& x) override;

 private:
  std::shared_ptr<BatchNorm2d> preffn_bn_;
  std::shared_ptr<ConvBn> pw1_, pw2_;
  std::shared_ptr<DropPath> drop_path_;  // null without a shortcut
};

}  // namespace replk
