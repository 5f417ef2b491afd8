#include "models/blocks.h"

#include "nn/init.h"
#include "ops/add/add.h"

namespace replk {

ConvBn::ConvBn(Options options)
    : options_(options),
      conv_(add_child("conv", std::make_shared<Conv2d>(Conv2dOptions{
                                  .in_channels = options.in_channels,
                                  .out_channels = options.out_channels,
                                  .kernel = options.kernel,
                                  .stride = options.stride,
                                  .padding = options.kernel / 2,
                                  .groups = options.groups,
                                  .bias = !options.bn,
                                  .activation = options.bn ? Activation::none : options.activation}))) {
  if (options.bn)
    bn_ = add_child("bn", std::make_shared<BatchNorm2d>(options.out_channels, options.activation));
}

Variable ConvBn::forward(const Variable& x) {
  const Variable y = (*conv_)(x);
  return bn_ ? (*bn_)(y) : y;
}

ConvBn::Fused ConvBn::fused() const {
  Fused result{conv_->weight().data.to_vector(), {}};
  const auto channels = static_cast<std::size_t>(options_.out_channels);
  result.bias = conv_->bias() ? conv_->bias()->data.to_vector() : std::vector<double>(channels, 0.0);
  if (!bn_) return result;
  const auto [scale, shift] = bn_->affine();
  const std::size_t inner = result.weight.size() / channels;
  for (std::size_t i = 0; i < result.weight.size(); ++i) result.weight[i] *= scale[i / inner];
  for (std::size_t c = 0; c < channels; ++c) result.bias[c] = result.bias[c] * scale[c] + shift[c];
  return result;
}

void ConvBn::fold(const BatchNorm2d* before) {
  if (!bn_ && !before) return;
  Fused f = fused();
  if (before) {
    check(options_.kernel == 1 && options_.groups == 1, "ConvBn::fold: a batch norm before a ",
          options_.kernel, "x", options_.kernel, " convolution with padding cannot be folded exactly.");
    // W (a x + b) + c = (W a) x + (W b + c)
    const auto [scale, shift] = before->affine();
    for (std::size_t i = 0; i < f.weight.size(); ++i) {
      f.bias[i / scale.size()] += f.weight[i] * shift[i % scale.size()];
      f.weight[i] *= scale[i % scale.size()];
    }
  }
  const DType dtype = conv_->weight().data.dtype();
  Conv2dOptions options = conv_->options();
  options.bias = true;
  options.activation = options_.activation;
  remove_child("conv");
  remove_child("bn");
  bn_ = nullptr;
  options_.bn = false;
  conv_ = add_child("conv", std::make_shared<Conv2d>(options));
  conv_->to(dtype);
  assign(conv_->weight(), f.weight);
  assign(*conv_->bias(), f.bias);
}

ReparamLargeKernelConv::ReparamLargeKernelConv(std::int64_t channels, std::int64_t kernel,
                                               std::int64_t small_kernel, bool merged, bool relu)
    : channels_(channels), kernel_(kernel), small_kernel_(small_kernel), relu_(relu) {
  check(small_kernel <= kernel, "ReparamLargeKernelConv: the small kernel (", small_kernel,
        ") must not be larger than the large one (", kernel, ").");
  check((kernel - small_kernel) % 2 == 0 || small_kernel == 0, "ReparamLargeKernelConv: kernels ", kernel,
        " and ", small_kernel, " must both be odd, or the small one has no centre in the large one.");
  if (merged) {
    reparam_ = add_child("lkb_reparam", make_reparam());
    return;
  }
  const auto depthwise = [channels](std::int64_t size, Activation activation) {
    return std::make_shared<ConvBn>(ConvBn::Options{.in_channels = channels,
                                                    .out_channels = channels,
                                                    .kernel = size,
                                                    .groups = channels,
                                                    .activation = activation});
  };
  const bool alone = small_kernel == 0;  // then nothing is added between batch norm and ReLU
  origin_ = add_child("lkb_origin", depthwise(kernel, relu && alone ? Activation::relu : Activation::none));
  if (!alone) small_ = add_child("small_conv", depthwise(small_kernel, Activation::none));
}

std::shared_ptr<Conv2d> ReparamLargeKernelConv::make_reparam() const {
  return std::make_shared<Conv2d>(Conv2dOptions{.in_channels = channels_,
                                                .out_channels = channels_,
                                                .kernel = kernel_,
                                                .padding = kernel_ / 2,
                                                .groups = channels_,
                                                .bias = true,
                                                .activation = relu_ ? Activation::relu : Activation::none});
}

Variable ReparamLargeKernelConv::forward(const Variable& x) {
  if (reparam_) return (*reparam_)(x);
  const Variable y = (*origin_)(x);
  return small_ ? add(y, (*small_)(x), {.relu = relu_}) : y;
}

ReparamLargeKernelConv::Branches ReparamLargeKernelConv::branches() const {
  check(!merged(), "ReparamLargeKernelConv::branches: already merged into one kernel.");
  Branches result{.large = origin_->fused(), .small = {}};
  // Padded with zeros all around, the small kernel is a large one, and convolution is linear in its kernel.
  result.small.weight.assign(result.large.weight.size(), 0);
  result.small.bias.assign(result.large.bias.size(), 0);
  if (!small_) return result;
  const ConvBn::Fused small = small_->fused();
  result.small.bias = small.bias;
  const std::int64_t margin = (kernel_ - small_kernel_) / 2;
  for (std::int64_t c = 0; c < channels_; ++c)
    for (std::int64_t u = 0; u < small_kernel_; ++u)
      for (std::int64_t v = 0; v < small_kernel_; ++v)
        result.small.weight[static_cast<std::size_t>((c * kernel_ + u + margin) * kernel_ + v + margin)] =
            small.weight[static_cast<std::size_t>((c * small_kernel_ + u) * small_kernel_ + v)];
  return result;
}

void ReparamLargeKernelConv::merge() {
  if (merged()) return;
  auto [large, small] = branches();
  for (std::size_t i = 0; i < large.weight.size(); ++i) large.weight[i] += small.weight[i];
  for (std::size_t c = 0; c < large.bias.size(); ++c) large.bias[c] += small.bias[c];
  const DType dtype = origin_->conv().weight().data.dtype();
  remove_child("lkb_origin");
  remove_child("small_conv");
  origin_ = small_ = nullptr;
  reparam_ = add_child("lkb_reparam", make_reparam());
  reparam_->to(dtype);
  assign(reparam_->weight(), large.weight);
  assign(*reparam_->bias(), large.bias);
}

RepLKBlock::RepLKBlock(std::int64_t channels, std::int64_t dw_channels, std::int64_t kernel,
                       std::int64_t small_kernel, BlockOptions options)
    : pw1_(add_child("pw1", std::make_shared<ConvBn>(ConvBn::Options{.in_channels = channels,
                                                                     .out_channels = dw_channels,
                                                                     .activation = Activation::relu,
                                                                     .bn = !options.folded}))),
      pw2_(add_child("pw2",
                     std::make_shared<ConvBn>(ConvBn::Options{
                         .in_channels = dw_channels, .out_channels = channels, .bn = !options.folded}))),
      large_kernel_(
          add_child("large_kernel", std::make_shared<ReparamLargeKernelConv>(
                                        dw_channels, kernel, small_kernel, options.merged, /*relu=*/true))) {
  if (!options.folded) prelkb_bn_ = add_child("prelkb_bn", std::make_shared<BatchNorm2d>(channels));
  if (options.shortcut) drop_path_ = add_child("drop_path", std::make_shared<DropPath>(options.drop_path));
}

Variable RepLKBlock::forward(const Variable& x) {
  Variable y = prelkb_bn_ ? (*prelkb_bn_)(x) : x;
  y = (*pw1_)(y);
  y = (*large_kernel_)(y);
  y = (*pw2_)(y);
  return drop_path_ ? drop_path_->add(x, y) : y;
}

void RepLKBlock::fold() {
  large_kernel_->merge();
  pw1_->fold(prelkb_bn_.get());
  pw2_->fold();
  remove_child("prelkb_bn");
  prelkb_bn_ = nullptr;
}

ConvFFN::ConvFFN(std::int64_t channels, std::int64_t hidden_channels, BlockOptions options) {
  if (!options.folded) preffn_bn_ = add_child("preffn_bn", std::make_shared<BatchNorm2d>(channels));
  pw1_ = add_child("pw1", std::make_shared<ConvBn>(ConvBn::Options{.in_channels = channels,
                                                                   .out_channels = hidden_channels,
                                                                   .activation = Activation::gelu,
                                                                   .bn = !options.folded}));
  pw2_ =
      add_child("pw2", std::make_shared<ConvBn>(ConvBn::Options{
                           .in_channels = hidden_channels, .out_channels = channels, .bn = !options.folded}));
  if (options.shortcut) drop_path_ = add_child("drop_path", std::make_shared<DropPath>(options.drop_path));
}

Variable ConvFFN::forward(const Variable& x) {
  Variable y = preffn_bn_ ? (*preffn_bn_)(x) : x;
  y = (*pw2_)((*pw1_)(y));
  return drop_path_ ? drop_path_->add(x, y) : y;
}

void ConvFFN::fold() {
  pw1_->fold(preffn_bn_.get());
  pw2_->fold();
  remove_child("preffn_bn");
  preffn_bn_ = nullptr;
}

}  // namespace replk
