#include "ops/scale_channels/scale_channels.h"

#include "core/dispatch.h"

namespace replk {

ScaleChannelsGeometry ScaleChannelsGeometry::of(const Tensor& x, const Tensor& scale) {
  check(x.rank() >= 1 && scale.shape() == Shape({x.size(0)}), "scale_channels: scale of shape (C,) = (",
        x.rank() ? x.size(0) : 0, ",) expected for x ", x.shape(), " in (C, N, H, W), got ", scale.shape(),
        ".");
  check(x.dtype() == scale.dtype() && x.device() == scale.device(), "scale_channels: x is ", x, ", scale ",
        scale, ": one dtype and device expected.");
  return {x.size(0), x.size(0) ? x.numel() / x.size(0) : 0};
}

Variable scale_channels(const Variable& x, const Variable& scale) {
  const auto g = ScaleChannelsGeometry::of(x.data(), scale.data());
  Tensor y = Tensor::empty_like(x.data());
  dispatch(
      "scale_channels", y.device(), [&] { cpu::scale_channels_forward(g, x.data(), scale.data(), y); },
      [&] { cuda::scale_channels_forward(g, x.data(), scale.data(), y); });
  return record("scale_channels", y, {x, scale}, /*saved=*/{x.data(), scale.data()},
                [g](const Saved& saved, const Tensor& dy, GradSink& grads) {
                  dispatch(
                      "scale_channels.backward", dy.device(),
                      [&] {
                        if (grads.wants(0))
                          cpu::scale_channels_backward_input(g, saved[1], dy, grads.into(0));
                        if (grads.wants(1))
                          cpu::scale_channels_backward_scale(g, saved[0], dy, grads.into(1));
                      },
                      [&] {
                        if (grads.wants(0))
                          cuda::scale_channels_backward_input(g, saved[1], dy, grads.into(0));
                        if (grads.wants(1))
                          cuda::scale_channels_backward_scale(g, saved[0], dy, grads.into(1));
                      });
                });
}

}  // namespace replk
