// Between PyTorch's (N, C, H, W), in which fixtures are stored, and our (C, N, H, W).
#pragma once

#include "core/tensor.h"

namespace replk::test {

/// Swaps the two outermost axes of a tensor of rank 2 or more: its own inverse.
Tensor swap_outer_axes(const Tensor& x);
inline Tensor to_cnhw(const Tensor& nchw) { return swap_outer_axes(nchw); }
inline Tensor to_nchw(const Tensor& cnhw) { return swap_outer_axes(cnhw); }

}  // namespace replk::test
