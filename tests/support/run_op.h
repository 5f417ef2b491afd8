// Running the call that an OpCase describes. Shared by the parts of check_op.
#pragma once

#include "tests/support/check_op.h"

namespace replk::test {

struct Result {
  Tensor y;
  std::vector<Tensor> grads;  // undefined where not differentiable
};

inline bool differentiable(const OpCase& c, std::size_t i) {
  return c.differentiable.empty() || c.differentiable[i];
}

/// The floating-point ones in another dtype.
std::vector<Tensor> cast_all(const std::vector<Tensor>& tensors, DType dtype);

/// Forward and backward. Inputs are parameters, so gradients are written by the kernels straight into their
/// targets; with `prefill` those hold something already.
Result run(const OpCase& c, const std::vector<Tensor>& inputs, const Tensor& dy,
           const std::vector<Tensor>* prefill);

/// On whatever devices they are.
bool same_bits(const Tensor& a, const Tensor& b);
bool same_bits(const Result& a, const Result& b);

/// What f32 arithmetic (or, with its `eps`, any other) may be off by after summing `terms` products.
double rounding_bound(double eps, double terms, const Values& reference);

/// The part of check_op that needs a GPU.
void check_op_on_cuda(const OpCase& c);

}  // namespace replk::test
