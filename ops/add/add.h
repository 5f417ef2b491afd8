// add: the sum of two tensors of one shape; what closes a residual block.
#pragma once

#include "core/tape.h"

namespace replk {

/// y = a + b
///
/// a, b, y of one shape, f32 or f64. Saves nothing; backward hands dy on to both inputs without copying it.
/// Throws Error when shapes, dtypes or devices differ. Source: own.
Variable add(const Variable& a, const Variable& b);

namespace cpu {
void add_forward(const Tensor& a, const Tensor& b, Tensor& y);
}  // namespace cpu

}  // namespace replk
