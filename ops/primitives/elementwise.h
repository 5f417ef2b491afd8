// Elementwise helpers without autograd, on the CPU or wherever their tensors live.
#pragma once

#include "core/tape.h"

namespace replk {

/// `x` in another dtype; the same tensor when it has it already. Floating to integer truncates.
Tensor cast(const Tensor& x, DType dtype);

/// target = x, or target += x when it accumulates. Same shape and dtype.
void add_into(const GradTarget& target, const Tensor& x);

/// The gradient of input i is `dy`: shares it where the tape allows, adds it otherwise. Does nothing when
/// unwanted.
void pass_gradient(GradSink& grads, int i, const Tensor& dy);

/// True when no element is NaN or infinite. Waits for the device.
bool all_finite(const Tensor& x);

namespace cuda {
void cast(const Tensor& x, Tensor& y);
void add_into(const GradTarget& target, const Tensor& x);
bool all_finite(const Tensor& x);
}  // namespace cuda

}  // namespace replk
