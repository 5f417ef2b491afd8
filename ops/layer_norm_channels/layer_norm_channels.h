// layer_norm_channels: normalises the channels of every pixel, then scales and shifts each channel.
#pragma once

#include "core/tape.h"

namespace replk {

/// y[c, n, h, w] = (x[c, n, h, w] - mean[n, h, w]) / sqrt(var[n, h, w] + eps) * weight[c] + bias[c]
///
/// mean and (biased) variance are over the C channels of one pixel. x, y (C, N, H, W); weight, bias (C,); all
/// of one dtype, f32 or f64. On a GPU x and y may be bf16 or f16 while the others are f32. Saves x and weight
/// (shared), mean and inverse standard deviation (2 N*H*W numbers). Throws Error on wrong shapes or dtypes,
/// eps < 0, or no channel at all. Source: Ba et al. 2016, over channels as ConvNeXt (Liu et al. 2022) has it.
Variable layer_norm_channels(const Variable& x, const Variable& weight, const Variable& bias,
                             double eps = 1e-6);

/// What the kernels see: C rows of `columns` = N*H*W elements, each column normalised by itself.
struct LayerNormChannelsGeometry {
  std::int64_t channels, columns;
  static LayerNormChannelsGeometry of(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps);
};

namespace cpu {
/// Also writes `mean` and `inverse_std` (columns,).
void layer_norm_channels_forward(const LayerNormChannelsGeometry& g, const Tensor& x, const Tensor& weight,
                                 const Tensor& bias, double eps, Tensor& mean, Tensor& inverse_std,
                                 Tensor& y);
/// dx = (u - mean_c(u) - xhat mean_c(u xhat)) inverse_std, where u = dy weight and xhat is x normalised.
void layer_norm_channels_backward_input(const LayerNormChannelsGeometry& g, const Tensor& x,
                                        const Tensor& weight, const Tensor& mean, const Tensor& inverse_std,
                                        const Tensor& dy, GradTarget dx);
/// dweight = sum over the row of dy xhat, dbias = sum of dy; one that is not wanted has an undefined tensor.
void layer_norm_channels_backward_parameters(const LayerNormChannelsGeometry& g, const Tensor& x,
                                             const Tensor& mean, const Tensor& inverse_std, const Tensor& dy,
                                             GradTarget dweight, GradTarget dbias);
}  // namespace cpu

namespace cuda {  // the same on the GPU, also in bf16 and f16
void layer_norm_channels_forward(const LayerNormChannelsGeometry& g, const Tensor& x, const Tensor& weight,
                                 const Tensor& bias, double eps, Tensor& mean, Tensor& inverse_std,
                                 Tensor& y);
void layer_norm_channels_backward_input(const LayerNormChannelsGeometry& g, const Tensor& x,
                                        const Tensor& weight, const Tensor& mean, const Tensor& inverse_std,
                                        const Tensor& dy, GradTarget dx);
void layer_norm_channels_backward_parameters(const LayerNormChannelsGeometry& g, const Tensor& x,
                                             const Tensor& mean, const Tensor& inverse_std, const Tensor& dy,
                                             GradTarget dweight, GradTarget dbias);
}  // namespace cuda

}  // namespace replk
