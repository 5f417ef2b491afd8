// scale_channels: multiplies every channel by its own factor.
#pragma once

#include "core/tape.h"

namespace replk {

/// y[c, ...] = x[c, ...] * scale[c]
///
/// x (C, N, H, W) or any shape whose outermost axis is the channel; scale (C,); y like x. f32, f64.
/// Saves x and scale (no copies). Throws Error when the counts of channels or the dtypes differ.
/// Source: layer scale, Touvron et al. 2021.
Variable scale_channels(const Variable& x, const Variable& scale);

/// What the kernels see: C rows of `columns` elements.
struct ScaleChannelsGeometry {
  std::int64_t channels, columns;
  static ScaleChannelsGeometry of(const Tensor& x, const Tensor& scale);
};

namespace cpu {
void scale_channels_forward(const ScaleChannelsGeometry& g, const Tensor& x, const Tensor& scale, Tensor& y);
/// dx[c, ...] = dy[c, ...] * scale[c]
void scale_channels_backward_input(const ScaleChannelsGeometry& g, const Tensor& scale, const Tensor& dy,
                                   GradTarget dx);
/// dscale[c] = sum over the row of dy[c, ...] * x[c, ...]
void scale_channels_backward_scale(const ScaleChannelsGeometry& g, const Tensor& x, const Tensor& dy,
                                   GradTarget dscale);
}  // namespace cpu

namespace cuda {  // the same on the GPU, also in bf16 and f16
void scale_channels_forward(const ScaleChannelsGeometry& g, const Tensor& x, const Tensor& scale, Tensor& y);
void scale_channels_backward_input(const ScaleChannelsGeometry& g, const Tensor& scale, const Tensor& dy,
                                   GradTarget dx);
void scale_channels_backward_scale(const ScaleChannelsGeometry& g, const Tensor& x, const Tensor& dy,
                                   GradTarget dscale);
}  // namespace cuda

}  // namespace replk
