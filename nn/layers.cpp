#include "nn/layers.h"

#include <cmath>

#include "core/random.h"
#include "core/replay.h"
#include "nn/init.h"
#include "ops/activations/activations.h"
#include "ops/batch_norm2d/batch_norm2d.h"
#include "ops/conv2d/conv2d.h"
#include "ops/depthwise_conv2d/depthwise_conv2d.h"
#include "ops/linear/linear.h"

namespace replk {

Conv2d::Conv2d(Conv2dOptions options)
    : options_(options),
      weight_(add_parameter(
          "weight", {options.out_channels, options.in_channels / std::max<std::int64_t>(options.groups, 1),
                     options.kernel.h, options.kernel.w})),
      bias_(options.bias ? &add_parameter("bias", {options.out_channels}) : nullptr) {
  check(options.groups >= 1 && options.in_channels % options.groups == 0 &&
            options.out_channels % options.groups == 0,
        "Conv2d: groups ", options.groups, " must divide ", options.in_channels, " input and ",
        options.out_channels, " output channels.");
}

bool Conv2d::depthwise() const {
  return options_.groups > 1 && options_.groups == options_.in_channels &&
         options_.groups == options_.out_channels;
}

Variable Conv2d::forward(const Variable& x) {
  const Variable bias = bias_ ? Variable(*bias_) : Variable();
  if (depthwise())
    return activate(depthwise_conv2d(x, weight_, bias,
                                     {.stride = options_.stride,
                                      .padding = options_.padding,
                                      .dilation = options_.dilation,
                                      .prepared = &prepared_}),
                    options_.activation);
  Conv2dParams params{.stride = options_.stride,
                      .padding = options_.padding,
                      .dilation = options_.dilation,
                      .groups = options_.groups};
  if (Tape::current()) return activate(conv2d(x, weight_, bias, params), options_.activation);
  params.activation = options_.activation;
  return conv2d(x, weight_, bias, params);
}

std::string Conv2d::describe() const {
  std::string text = depthwise() ? str("depth-wise ", options_.kernel) : str("conv ", options_.kernel);
  if (options_.stride != Extent2d(1)) text += str(" stride ", options_.stride.h);
  if (options_.activation != Activation::none) text += str(", ", name_of(options_.activation));
  return text;
}

std::int64_t Conv2d::macs(const Shape&, const Shape& out) const {
  return out.numel() * (options_.in_channels / options_.groups) * options_.kernel.h * options_.kernel.w;
}

void Conv2d::reset_parameters(std::uint64_t seed) {
  const std::int64_t fan_in = weight_.data.numel() / options_.out_channels;
  init_fan_in_uniform(weight_, fan_in, seed);
  if (bias_) init_fan_in_uniform(*bias_, fan_in, seed);
}

BatchNorm2d::BatchNorm2d(std::int64_t channels, Activation activation)
    : activation_(activation),
      weight_(add_parameter("weight", {channels})),
      bias_(add_parameter("bias", {channels})),
      running_mean_(add_buffer("running_mean", Tensor::zeros({channels}))),
      running_var_(add_buffer("running_var", Tensor::full({channels}, 1))),
      num_batches_tracked_(add_buffer("num_batches_tracked", Tensor::zeros({}, DType::i64))) {
  weight_.data.fill(1);
}

Variable BatchNorm2d::forward(const Variable& x) {
  const bool update = training() && !Tape::recomputing();
  if (update) before_each_run([count = num_batches_tracked_]() mutable { ++*count.data<std::int64_t>(); });
  return batch_norm2d(x, weight_, bias_, running_mean_, running_var_,
                      {.training = training(),
                       .momentum = kMomentum,
                       .eps = kEps,
                       .update_statistics = update,
                       .activation = activation_});
}

BatchNorm2d::Affine BatchNorm2d::affine() const {
  Affine result{weight_.data.to_vector(), bias_.data.to_vector()};
  const std::vector<double> mean = running_mean_.to_vector(), var = running_var_.to_vector();
  for (std::size_t c = 0; c < mean.size(); ++c) {
    result.scale[c] /= std::sqrt(var[c] + kEps);
    result.shift[c] -= mean[c] * result.scale[c];
  }
  return result;
}

std::string BatchNorm2d::describe() const {
  return activation_ == Activation::none ? "batch norm" : str("batch norm, ", name_of(activation_));
}

Linear::Linear(std::int64_t in_features, std::int64_t out_features)
    : weight_(add_parameter("weight", {out_features, in_features})),
      bias_(add_parameter("bias", {out_features})) {}

Variable Linear::forward(const Variable& x) { return linear(x, weight_, bias_); }

std::string Linear::describe() const { return "linear"; }

std::int64_t Linear::macs(const Shape&, const Shape& out) const { return out.numel() * weight_.data.size(1); }

void Linear::reset_parameters(std::uint64_t seed) {
  init_fan_in_uniform(weight_, weight_.data.size(1), seed);
  init_fan_in_uniform(bias_, weight_.data.size(1), seed);
}

Tensor DropPath::factors_for(const Tensor& x) {
  if (!training() || probability_ == 0) return {};
  const auto draw = [this, samples = x.size(1), first_sample = first_sample_] {
    return drop_path_factors(
        samples,
        {.probability = probability_, .seed = seed_, .stream = stream_, .first_sample = first_sample});
  };
  return renewed_each_run({x.size(1)}, DType::f64, x.device(), draw);
}

Variable DropPath::forward(const Variable& x) { return drop_path(x, factors_for(x.data())); }

Variable DropPath::add(const Variable& x, const Variable& branch) {
  return drop_path_add(x, branch, factors_for(branch.data()));
}

void DropPath::on_step(std::uint64_t seed, std::uint64_t step, std::int64_t first_sample) {
  seed_ = seed;
  first_sample_ = first_sample;
  stream_ = mix(stream_of(path()), step);
}

void initialize(Module& root, std::uint64_t seed) {
  root.visit([seed](Module& module) {
    if (auto* conv = dynamic_cast<Conv2d*>(&module)) conv->reset_parameters(seed);
    if (auto* layer = dynamic_cast<Linear*>(&module)) layer->reset_parameters(seed);
  });
}

}  // namespace replk
