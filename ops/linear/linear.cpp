#include "ops/linear/linear.h"

#include "core/dispatch.h"
#include "ops/primitives/elementwise.h"

namespace replk {

LinearGeometry LinearGeometry::of(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  check(x.rank() == 2 && weight.rank() == 2 && x.size(1) == weight.size(1),
        "linear: x (N, in) and weight (out, in) expected, got x ", x.shape(), " and weight ", weight.shape(),
        ". Flatten or pool the features first.");
  check(weight.dtype() == accumulator_of(x.dtype()) && x.device() == weight.device(), "linear: x is ", x,
        ", weight ", weight, ": one dtype (f32 for bf16 and f16) and device expected.");
  if (bias.defined())
    check(bias.shape() == Shape({weight.size(0)}) && bias.dtype() == weight.dtype() &&
              bias.device() == x.device(),
          "linear: bias of ", weight.dtype(), " (", weight.size(0), ") expected for weight ", weight.shape(),
          ", got ", bias, ".");
  return {x.size(0), x.size(1), weight.size(0)};
}

Variable linear(const Variable& x, const Variable& weight, const Variable& bias) {
  const auto g = LinearGeometry::of(x.data(), weight.data(), bias.data());
  Tensor y = Tensor::empty({g.rows, g.out}, x.data().dtype(), x.data().device());
  const Tensor factor = cast(weight.data(), y.dtype());
  dispatch(
      "linear", y.device(), [&] { cpu::linear_forward(g, x.data(), factor, bias.data(), y); },
      [&] { cuda::linear_forward(g, x.data(), factor, bias.data(), y); });
  return record("linear", y, {x, weight, bias}, /*saved=*/{x.data(), factor},
                [g](const Saved& saved, const Tensor& dy, GradSink& grads) {
                  dispatch(
                      "linear.backward", dy.device(),
                      [&] {
                        if (grads.wants(0)) cpu::linear_backward_input(g, saved[1], dy, grads.into(0));
                        if (grads.wants(1)) cpu::linear_backward_weight(g, saved[0], dy, grads.into(1));
                        if (grads.wants(2)) cpu::linear_backward_bias(g, dy, grads.into(2));
                      },
                      [&] {
                        if (grads.wants(0)) cuda::linear_backward_input(g, saved[1], dy, grads.into(0));
                        if (grads.wants(1)) cuda::linear_backward_weight(g, saved[0], dy, grads.into(1));
                        if (grads.wants(2)) cuda::linear_backward_bias(g, dy, grads.into(2));
                      });
                });
}

}  // namespace replk
