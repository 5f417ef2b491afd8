// add: the sum of two tensors of one shape; what closes a residual block.
#pragma once

#include "core/tape.h"

namespace replk {

struct AddParams {
  bool relu = false;  // of the sum
};

/// y = a + b, or max(a + b, 0) with relu
///
/// a, b, y of one shape, f32 or f64. Saves nothing, or y with relu; backward hands one gradient on to both
/// inputs without copying it. Throws Error when shapes, dtypes or devices differ. Source: own.
Variable add(const Variable& a, const Variable& b, AddParams params = {});

namespace cpu {
void add_forward(const Tensor& a, const Tensor& b, const AddParams& params, Tensor& y);
/// dz = dy where y > 0, else 0: the gradient of both inputs under relu.
void add_relu_backward(const Tensor& y, const Tensor& dy, Tensor& dz);
}  // namespace cpu

namespace cuda {  // the same on the GPU, also in bf16 and f16
void add_forward(const Tensor& a, const Tensor& b, const AddParams& params, Tensor& y);
void add_relu_backward(const Tensor& y, const Tensor& dy, Tensor& dz);
}  // namespace cuda

}  // namespace replk
