// The tensor-core kernels for maps so small that a whole one is a row of a matrix (cuda_whole_maps.cu).
// Stride 1, dilation 1.
#pragma once

#include "ops/depthwise_conv2d/depthwise_conv2d.h"

namespace replk::cuda {

/// Up to 208 pixels, of the input and of the output.
bool whole_maps_apply(const DepthwiseConv2dGeometry& g);
/// Up to 64.
bool whole_maps_apply_to_weight(const DepthwiseConv2dGeometry& g);

/// Forward with in = x and out = y; `turned` the input gradient: in = dy, out = dx, no bias.
void multiply_whole_maps(const char* name, const DepthwiseConv2dGeometry& g, bool turned, const Tensor& in,
                         const Tensor& weight, const Tensor& bias, GradTarget out);
void multiply_whole_maps_for_weight(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& dy,
                                    GradTarget dweight);

}  // namespace replk::cuda
