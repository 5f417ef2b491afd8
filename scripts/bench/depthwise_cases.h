// What the benchmarks of depth-wise convolutions share.
#pragma once

#include <string>

#include "ops/depthwise_conv2d/depthwise_conv2d.h"

namespace replk {

/// Pairs of an output and a tap that meet inside the image, along one axis, with padding kernel / 2.
double taps_inside(std::int64_t extent, std::int64_t kernel, std::int64_t stride = 1);

/// Multiplications and additions with taps inside the image.
double flops_inside(const DepthwiseConv2dGeometry& g);

/// Throws UsageError for a name that is none.
DepthwiseKernel kernel_named(const std::string& name);

}  // namespace replk
