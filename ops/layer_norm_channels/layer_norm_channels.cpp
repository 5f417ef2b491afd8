#include "ops/layer_norm_channels/layer_norm_channels.h"

#include "core/dispatch.h"

namespace replk {

LayerNormChannelsGeometry LayerNormChannelsGeometry::of(const Tensor& x, const Tensor& weight,
                                                        const Tensor& bias, double eps) {
  check(x.rank() == 4 && x.size(0) > 0,
        "layer_norm_channels: x of shape (C, N, H, W) with C > 0 expected, got ", x.shape(), ".");
  const auto check_channels = [&](const char* name, const Tensor& t) {
    check(t.defined() && t.shape() == Shape({x.size(0)}), "layer_norm_channels: ", name, " of shape (C,) = (",
          x.size(0), ",) expected for x ", x.shape(), " in (C, N, H, W), got ", t.shape(), ".");
    check(t.dtype() == accumulator_of(x.dtype()) && t.device() == x.device(), "layer_norm_channels: x is ", x,
          ", ", name, " ", t, ": one dtype (f32 for bf16 and f16) and device expected.");
  };
  check_channels("weight", weight);
  check_channels("bias", bias);
  check(eps >= 0, "layer_norm_channels: eps >= 0 expected, got ", eps, ".");
  return {x.size(0), x.size(1) * x.size(2) * x.size(3)};
}

Variable layer_norm_channels(const Variable& x, const Variable& weight, const Variable& bias, double eps) {
  const auto g = LayerNormChannelsGeometry::of(x.data(), weight.data(), bias.data(), eps);
  Tensor y = Tensor::empty_like(x.data());
  Tensor mean = Tensor::empty({g.columns}, accumulator_of(y.dtype()), y.device()),
         inverse_std = Tensor::empty_like(mean);
  dispatch(
      "layer_norm_channels", y.device(),
      [&] {
        cpu::layer_norm_channels_forward(g, x.data(), weight.data(), bias.data(), eps, mean, inverse_std, y);
      },
      [&] {
        cuda::layer_norm_channels_forward(g, x.data(), weight.data(), bias.data(), eps, mean, inverse_std, y);
      });
  return record("layer_norm_channels", y, {x, weight, bias},
                /*saved=*/{x.data(), weight.data(), mean, inverse_std},
                [g](const Saved& saved, const Tensor& dy, GradSink& grads) {
                  const auto target = [&](int i) { return grads.wants(i) ? grads.into(i) : GradTarget{}; };
                  dispatch(
                      "layer_norm_channels.backward", dy.device(),
                      [&] {
                        if (grads.wants(0))
                          cpu::layer_norm_channels_backward_input(g, saved[0], saved[1], saved[2], saved[3],
                                                                  dy, grads.into(0));
                        if (grads.wants(1) || grads.wants(2))
                          cpu::layer_norm_channels_backward_parameters(g, saved[0], saved[2], saved[3], dy,
                                                                       target(1), target(2));
                      },
                      [&] {
                        if (grads.wants(0))
                          cuda::layer_norm_channels_backward_input(g, saved[0], saved[1], saved[2], saved[3],
                                                                   dy, grads.into(0));
                        if (grads.wants(1) || grads.wants(2))
                          cuda::layer_norm_channels_backward_parameters(g, saved[0], saved[2], saved[3], dy,
                                                                        target(1), target(2));
                      });
                });
}

}  // namespace replk
