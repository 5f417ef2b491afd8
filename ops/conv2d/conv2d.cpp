#include "ops/conv2d/conv2d.h"

#include "core/dispatch.h"
#include "ops/primitives/elementwise.h"

namespace replk {
namespace {

constexpr std::int64_t kLargest = std::int64_t{1} << 31;  // keeps every sum below well inside 64 bits

void check_params(const Conv2dParams& p) {
  const auto within = [](Extent2d e, std::int64_t least) {
    return e.h >= least && e.w >= least && e.h < kLargest && e.w < kLargest;
  };
  check(within(p.stride, 1), "conv2d: stride of at least 1 expected, got ", p.stride, ".");
  check(within(p.dilation, 1), "conv2d: dilation of at least 1 expected, got ", p.dilation, ".");
  check(within(p.padding, 0), "conv2d: padding of at least 0 expected, got ", p.padding, ".");
}

// Windows along one axis; 0 when the kernel does not fit.
std::int64_t windows(std::int64_t in, std::int64_t kernel, std::int64_t stride, std::int64_t padding,
                     std::int64_t dilation) {
  const std::int64_t room = in + 2 * padding - dilation * (kernel - 1) - 1;
  return room < 0 ? 0 : room / stride + 1;
}

}  // namespace

Conv2dGeometry Conv2dGeometry::of(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                  Conv2dParams params) {
  check(x.rank() == 4 && weight.rank() == 4,
        "conv2d: x (in, N, H, W) and weight (out, in / groups, kh, kw) expected, got x ", x.shape(),
        " and weight ", weight.shape(), ".");
  check_params(params);
  check(params.groups >= 1 && weight.size(0) % params.groups == 0 && x.size(0) % params.groups == 0 &&
            weight.size(1) == x.size(0) / params.groups,
        "conv2d: weight (out, ", x.size(0),
        " / groups, kh, kw) with in and out multiples of groups = ", params.groups, " expected for x ",
        x.shape(), " in (C, N, H, W), got ", weight.shape(), ".");
  check(weight.dtype() == accumulator_of(x.dtype()) && x.device() == weight.device(), "conv2d: x is ", x,
        ", weight ", weight, ": one dtype (f32 for bf16 and f16) and device expected.");
  if (bias.defined())
    check(bias.shape() == Shape({weight.size(0)}) && bias.dtype() == weight.dtype() &&
              bias.device() == x.device(),
          "conv2d: bias of ", weight.dtype(), " (", weight.size(0), ") expected for weight ", weight.shape(),
          ", got ", bias, ".");
  const Extent2d in(x.size(2), x.size(3)), kernel(weight.size(2), weight.size(3));
  check(kernel.h >= 1 && kernel.w >= 1 && kernel.h < kLargest && kernel.w < kLargest,
        "conv2d: a kernel of at least 1x1 expected, got ", kernel, ".");
  const Extent2d out(windows(in.h, kernel.h, params.stride.h, params.padding.h, params.dilation.h),
                     windows(in.w, kernel.w, params.stride.w, params.padding.w, params.dilation.w));
  check(out.h >= 1 && out.w >= 1, "conv2d: a kernel of ", kernel, " with dilation ", params.dilation,
        " does not fit into a map of ", in, " with padding ", params.padding, ". Pad more.");
  return {x.size(0), weight.size(0), x.size(1), in, out, kernel, params};
}

bool Conv2dGeometry::pointwise() const {
  return kernel == Extent2d(1) && params.stride == Extent2d(1) && params.padding == Extent2d(0) &&
         params.groups == 1;
}

Variable conv2d(const Variable& x, const Variable& weight, const Variable& bias, Conv2dParams params) {
  const auto g = Conv2dGeometry::of(x.data(), weight.data(), bias.data(), params);
  check(params.activation == Activation::none || !Tape::current(),
        "conv2d: no gradient is known through the ", name_of(params.activation),
        " of its params, and a tape records. Apply it to the result instead.");
  Tensor y = Tensor::empty(g.output_shape(), x.data().dtype(), x.data().device());
  const Tensor factor = cast(weight.data(), y.dtype());
  const char* name = g.pointwise() ? "conv2d_1x1" : "conv2d";
  dispatch(
      name, y.device(), [&] { cpu::conv2d_forward(g, x.data(), factor, bias.data(), y); },
      [&] { cuda::conv2d_forward(g, x.data(), factor, bias.data(), y); });
  return record(name, y, {x, weight, bias}, /*saved=*/{x.data(), factor},
                [g](const Saved& saved, const Tensor& dy, GradSink& grads) {
                  dispatch(
                      g.pointwise() ? "conv2d_1x1.backward" : "conv2d.backward", dy.device(),
                      [&] {
                        if (grads.wants(0)) cpu::conv2d_backward_input(g, saved[1], dy, grads.into(0));
                        if (grads.wants(1)) cpu::conv2d_backward_weight(g, saved[0], dy, grads.into(1));
                        if (grads.wants(2)) cpu::conv2d_backward_bias(g, dy, grads.into(2));
                      },
                      [&] {
                        if (grads.wants(0)) cuda::conv2d_backward_input(g, saved[1], dy, grads.into(0));
                        if (grads.wants(1)) cuda::conv2d_backward_weight(g, saved[0], dy, grads.into(1));
                        if (grads.wants(2)) cuda::conv2d_backward_bias(g, dy, grads.into(2));
                      });
                });
}

}  // namespace replk
