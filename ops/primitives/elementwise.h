// Elementwise helpers without autograd, on the CPU or wherever their tensors live.
#pragma once

#include "core/prepared.h"
#include "core/tape.h"

namespace replk {

/// `x` in another dtype; the same tensor when it has it already. Floating to integer truncates.
Tensor cast(const Tensor& x, DType dtype);

/// A weight in the dtype of the activations it meets. Where no tape records it is kept in `kept` (may be
/// null) until the weight changes; in training that is every step, and the copy would only take memory.
Tensor cast_weight(const Tensor& weight, DType dtype, Prepared* kept);

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
