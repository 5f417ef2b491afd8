// conv2d: the dense convolution, of which 1x1 is the case that matters.
#pragma once

#include "core/tape.h"
#include "ops/primitives/activation.h"

namespace replk {

struct Conv2dParams {
  Extent2d stride = 1;
  Extent2d padding = 0;
  Extent2d dilation = 1;
  std::int64_t groups = 1;
  Activation activation = Activation::none;  // of the result, where no tape records
};

/// y[o, n, ho, wo] = sum over c, i, j of x[g + c, n, ho * sh - ph + i * dh, wo * sw - pw + j * dw]
///                   * weight[o, c, i, j], + bias[o],
/// where c runs over the in / groups channels of o's group, which starts at channel g, and x is zero outside
/// the map. (A cross-correlation, as in all of deep learning.)
///
/// x (in, N, H, W), weight (out, in / groups, kh, kw), bias (out,) or absent; y (out, N, Ho, Wo) with
/// Ho = (H + 2 ph - dh (kh - 1) - 1) / sh + 1, likewise Wo. f32, f64. On a GPU x and y may be bf16 or f16
/// while weight, bias and their gradients are f32: weights are rounded to the dtype of x, sums are made in
/// f32. With an activation y is activation(the above), in the same pass. There is no gradient through it:
/// training needs the activation as an operator of its own (or in the batch norm that comes between). Saves x
/// and weight (no copies, unless weights are rounded). Throws Error when a shape, parameter or dtype does not
/// fit, and for an activation while a tape records. Source: own. For depth-wise convolutions
/// `depthwise_conv2d` is the fast one.
Variable conv2d(const Variable& x, const Variable& weight, const Variable& bias = {},
                Conv2dParams params = {});

/// What the kernels see.
struct Conv2dGeometry {
  std::int64_t in_channels, out_channels, batch;
  Extent2d in, out, kernel;
  Conv2dParams params;

  /// `bias` may be undefined.
  static Conv2dGeometry of(const Tensor& x, const Tensor& weight, const Tensor& bias, Conv2dParams params);

  Shape output_shape() const { return {out_channels, batch, out.h, out.w}; }
  /// True when the convolution is one matrix product: 1x1, nothing skipped, padded or grouped.
  bool pointwise() const;
  std::int64_t group_in() const { return in_channels / params.groups; }
  std::int64_t group_out() const { return out_channels / params.groups; }
  /// Rows of the im2col matrix of one group: the weights of one output channel.
  std::int64_t taps() const { return group_in() * kernel.h * kernel.w; }
  /// Windows: columns of the output and of the im2col matrix.
  std::int64_t columns() const { return batch * out.h * out.w; }
};

namespace cpu {
/// y with bias, which may be undefined, and activation.
void conv2d_forward(const Conv2dGeometry& g, const Tensor& x, const Tensor& weight, const Tensor& bias,
                    Tensor& y);
void conv2d_backward_input(const Conv2dGeometry& g, const Tensor& weight, const Tensor& dy, GradTarget dx);
void conv2d_backward_weight(const Conv2dGeometry& g, const Tensor& x, const Tensor& dy, GradTarget dweight);
/// dbias[o] = sum over n, ho, wo of dy[o, n, ho, wo]
void conv2d_backward_bias(const Conv2dGeometry& g, const Tensor& dy, GradTarget dbias);
}  // namespace cpu

namespace cuda {  // the same on the GPU, also in bf16 and f16 with bias, dweight and dbias in f32
void conv2d_forward(const Conv2dGeometry& g, const Tensor& x, const Tensor& weight, const Tensor& bias,
                    Tensor& y);
void conv2d_backward_input(const Conv2dGeometry& g, const Tensor& weight, const Tensor& dy, GradTarget dx);
void conv2d_backward_weight(const Conv2dGeometry& g, const Tensor& x, const Tensor& dy, GradTarget dweight);
void conv2d_backward_bias(const Conv2dGeometry& g, const Tensor& dy, GradTarget dbias);
}  // namespace cuda

}  // namespace replk
