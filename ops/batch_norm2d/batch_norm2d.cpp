#include "ops/batch_norm2d/batch_norm2d.h"

#include "core/dispatch.h"

namespace replk {

BatchNorm2dGeometry BatchNorm2dGeometry::of(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                            const Tensor& running_mean, const Tensor& running_var,
                                            const BatchNorm2dParams& params) {
  check(x.rank() == 4, "batch_norm2d: x of shape (C, N, H, W) expected, got ", x.shape(), ".");
  const auto check_channels = [&](const char* name, const Tensor& t) {
    check(t.defined() && t.shape() == Shape({x.size(0)}), "batch_norm2d: ", name, " of shape (C,) = (",
          x.size(0), ",) expected for x ", x.shape(), " in (C, N, H, W), got ", t.shape(), ".");
    check(t.dtype() == accumulator_of(x.dtype()) && t.device() == x.device(), "batch_norm2d: x is ", x, ", ",
          name, " ", t, ": one dtype (f32 for bf16 and f16) and device expected.");
  };
  check_channels("weight", weight);
  check_channels("bias", bias);
  check_channels("running_mean", running_mean);
  check_channels("running_var", running_var);
  check(params.eps >= 0, "batch_norm2d: eps >= 0 expected, got ", params.eps, ".");
  check(params.momentum >= 0 && params.momentum <= 1, "batch_norm2d: momentum in [0, 1] expected, got ",
        params.momentum, ".");
  const std::int64_t columns = x.size(1) * x.size(2) * x.size(3);
  check(!params.training || columns > 1,
        "batch_norm2d: training needs more than one value per channel (N*H*W > 1), got x ", x.shape(),
        ". Use a larger batch or map, or evaluate.");
  return {x.size(0), columns};
}

Variable batch_norm2d(const Variable& x, const Variable& weight, const Variable& bias, Tensor& running_mean,
                      Tensor& running_var, BatchNorm2dParams params) {
  const auto g =
      BatchNorm2dGeometry::of(x.data(), weight.data(), bias.data(), running_mean, running_var, params);
  if (Tape::recomputing()) params.update_statistics = false;
  Tensor y = Tensor::empty_like(x.data());
  Tensor mean = Tensor::empty_like(weight.data()), inverse_std = Tensor::empty_like(weight.data());
  const auto run = [&](const auto& forward_training, const auto& forward_eval) {
    if (params.training)
      forward_training(g, x.data(), weight.data(), bias.data(), params, mean, inverse_std, running_mean,
                       running_var, y);
    else
      forward_eval(g, x.data(), weight.data(), bias.data(), params, running_mean, running_var, mean,
                   inverse_std, y);
  };
  dispatch(
      "batch_norm2d", y.device(),
      [&] { run(cpu::batch_norm2d_forward_training, cpu::batch_norm2d_forward_eval); },
      [&] { run(cuda::batch_norm2d_forward_training, cuda::batch_norm2d_forward_eval); });
  return record("batch_norm2d", y, {x, weight, bias},
                /*saved=*/{x.data(), weight.data(), bias.data(), mean, inverse_std},
                [g, params](const Saved& saved, const Tensor& dy, GradSink& grads) {
                  const auto target = [&](int i) { return grads.wants(i) ? grads.into(i) : GradTarget{}; };
                  const BatchNorm2dSaved forward{saved[0], saved[1], saved[2], saved[3], saved[4]};
                  const BatchNorm2dGradients into{target(0), target(1), target(2)};
                  dispatch(
                      "batch_norm2d.backward", dy.device(),
                      [&] { cpu::batch_norm2d_backward(g, forward, params, dy, into); },
                      [&] { cuda::batch_norm2d_backward(g, forward, params, dy, into); });
                });
}

}  // namespace replk
