// Between kernels and their spectra.
#pragma once

#include "ops/depthwise_conv2d/cuda_fft_plan.h"

namespace replk::cuda {

/// The spectra of the kernels, placed so that g[p - u] = weight[u], times 1 / L^2: complex numbers
/// [channel][column][row]. From the last call if the weight is still the same (g.prepared).
Tensor kernel_spectra(const DepthwiseConv2dGeometry& g, const FftPlan& plan, const Tensor& weight);

/// dweight[u] (+)= the real part at u - p of what `sums`, spectra [part][channel][column][row] to be added
/// up in this order, are the transform of.
void weights_of_spectra(const FftPlan& plan, int parts, const Tensor& sums, GradTarget dweight);

}  // namespace replk::cuda
