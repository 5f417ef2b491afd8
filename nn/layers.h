// Layers: operators with parameters of their own.
#pragma once

#include "core/prepared.h"
#include "nn/module.h"
#include "ops/drop_path/drop_path.h"
#include "ops/primitives/activation.h"

namespace replk {

struct Conv2dOptions {
  std::int64_t in_channels, out_channels;
  Extent2d kernel = 1;
  Extent2d stride = 1;
  Extent2d padding = 0;
  Extent2d dilation = 1;
  std::int64_t groups = 1;
  bool bias = false;
  Activation activation = Activation::none;  // of the result
};

/// conv2d, or depthwise_conv2d where every channel has a kernel of its own (groups = in = out channels).
/// Parameters: weight (out, in / groups, kh, kw), bias (out). The activation is part of conv2d where no tape
/// records, otherwise an operator of its own.
class Conv2d : public Module {
 public:
  explicit Conv2d(Conv2dOptions options);
  const Conv2dOptions& options() const { return options_; }
  bool depthwise() const;
  Parameter& weight() { return weight_; }
  /// Null without bias.
  Parameter* bias() { return bias_; }
  std::string describe() const override;
  std::int64_t macs(const Shape& in, const Shape& out) const override;
  void reset_parameters(std::uint64_t seed);

 protected:
  Variable forward(const Variable& x) override;

 private:
  Conv2dOptions options_;
  Parameter& weight_;
  Parameter* bias_;
  Prepared prepared_;
};

/// batch_norm2d with its scale, shift and running statistics (momentum 0.1, eps 1e-5, as in the published
/// model), and the activation that follows, which costs no pass of its own here.
class BatchNorm2d : public Module {
 public:
  explicit BatchNorm2d(std::int64_t channels, Activation activation = Activation::none);
  /// In eval mode batch norm is x * scale + shift, per channel, before the activation; f64 vectors of length
  /// C.
  struct Affine {
    std::vector<double> scale, shift;
  };
  Affine affine() const;
  Parameter& weight() { return weight_; }
  Parameter& bias() { return bias_; }
  std::string describe() const override;

 protected:
  Variable forward(const Variable& x) override;

 private:
  static constexpr double kEps = 1e-5, kMomentum = 0.1;
  Activation activation_;
  Parameter &weight_, &bias_;
  Tensor &running_mean_, &running_var_, &num_batches_tracked_;
};

/// linear: weight (out, in), bias (out).
class Linear : public Module {
 public:
  Linear(std::int64_t in_features, std::int64_t out_features);
  Parameter& weight() { return weight_; }
  Parameter& bias() { return bias_; }
  std::string describe() const override;
  std::int64_t macs(const Shape& in, const Shape& out) const override;
  void reset_parameters(std::uint64_t seed);

 protected:
  Variable forward(const Variable& x) override;

 private:
  Parameter &weight_, &bias_;
};

/// drop_path in train mode: removes a residual branch for whole samples. Source: Huang et al. 2016.
class DropPath : public Module {
 public:
  explicit DropPath(double probability) : probability_(probability) {}
  double probability() const { return probability_; }
  /// x + (what forward makes of `branch`), in one pass: the end of a residual block.
  Variable add(const Variable& x, const Variable& branch);

 protected:
  Variable forward(const Variable& x) override;
  void on_step(std::uint64_t seed, std::uint64_t step, std::int64_t first_sample) override;

 private:
  Tensor factors_for(const Tensor& x);
  double probability_;
  std::uint64_t seed_ = 0, stream_ = 0;
  std::int64_t first_sample_ = 0;
};

/// Sets every convolution and linear layer below `root` to PyTorch's default initial values; batch norm stays
/// at scale 1, shift 0.
void initialize(Module& root, std::uint64_t seed);

}  // namespace replk
