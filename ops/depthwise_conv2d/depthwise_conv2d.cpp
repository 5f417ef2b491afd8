#include "ops/depthwise_conv2d/depthwise_conv2d.h"

#include "core/dispatch.h"
#include "ops/primitives/elementwise.h"

namespace replk {
namespace {

std::int64_t output_extent(const char* axis, std::int64_t input, std::int64_t kernel, std::int64_t stride,
                           std::int64_t padding, std::int64_t dilation) {
  check(stride >= 1 && dilation >= 1 && padding >= 0,
        "depthwise_conv2d: stride >= 1, dilation >= 1 and padding >= 0 ", "expected along ", axis, ", got ",
        stride, ", ", dilation, " and ", padding, ".");
  const std::int64_t reach = dilation * (kernel - 1) + 1;
  check(input + 2 * padding >= reach, "depthwise_conv2d: no output is left along ", axis,
        ": a kernel reaching over ", reach, " does not fit into ", input, " + 2 * padding ", padding,
        ". Use padding ", reach / 2, " to keep the size.");
  return (input + 2 * padding - reach) / stride + 1;
}

// Where a kernel that was asked for by name applies.
void check_forced(const DepthwiseConv2dGeometry& g, const Tensor& x) {
  const bool on_cpu = x.device().is_cpu();
  const auto demand = [&](bool applies, const char* needs) {
    check(applies, "depthwise_conv2d: the ", name_of(g.forced), " kernel ", needs, ", got ", x.dtype(),
          " on ", x.device(), ", kernel ", g.kernel, ", stride ", g.stride, ", padding ", g.padding,
          ", dilation ", g.dilation, ", x ", x.shape(), ". Leave the choice automatic.");
  };
  switch (g.forced) {
    case DepthwiseKernel::automatic:
    case DepthwiseKernel::naive:
      return;
    case DepthwiseKernel::direct:
      return on_cpu ? demand(cpu::depthwise_direct_applies(g),
                             "needs stride 1 or 2 along both axes and dilation 1 on the CPU")
                    : demand(cuda::direct_applies(g, x.dtype()),
                             "needs f32 or bf16, a 3x3, 5x5 or 7x7 kernel, stride 1 or 2, padding of half "
                             "the kernel, dilation 1 and rows that fit into shared memory on a GPU");
    case DepthwiseKernel::rows:
      return demand(on_cpu && cpu::depthwise_rows_applies(g),
                    "needs the CPU, a 3x3 or 5x5 kernel, stride 1 or 2 along both axes and dilation 1");
    case DepthwiseKernel::fft:
      return on_cpu ? demand(cpu::depthwise_fft_applies(g),
                             "needs stride 1, dilation 1 and transforms of at most 2520 points on the CPU")
                    : demand(cuda::fft_applies(g, x.dtype()),
                             "needs f32 or bf16, stride 1, dilation 1 and transforms of at most 72 points "
                             "(map and half of the kernel) on a GPU");
    case DepthwiseKernel::tensor_core:
      return demand(!on_cpu && cuda::tensor_core_applies(g, x.dtype()),
                    "needs a GPU, f32, bf16 or f16, stride 1, dilation 1, a kernel of at most 65x65 and "
                    "padding of at most 512");
  }
}

}  // namespace

DepthwiseConv2dGeometry DepthwiseConv2dGeometry::of(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                                    DepthwiseConv2dParams params) {
  check(x.rank() == 4 && weight.rank() == 4,
        "depthwise_conv2d: x (C, N, H, W) and weight (C, 1, Kh, Kw) expected, got ", x.shape(), " and ",
        weight.shape(), ".");
  check(weight.size(0) == x.size(0) && weight.size(1) == 1 && weight.size(2) >= 1 && weight.size(3) >= 1,
        "depthwise_conv2d: weight (", x.size(0), ", 1, Kh, Kw) expected for x ", x.shape(),
        " in (C, N, H, W), got ", weight.shape(), ".");
  check(!bias.defined() || bias.shape() == Shape({x.size(0)}), "depthwise_conv2d: bias (", x.size(0),
        ") expected, got ", bias.shape(), ".");
  check(weight.dtype() == accumulator_of(x.dtype()) && x.device() == weight.device() &&
            (!bias.defined() || (bias.dtype() == weight.dtype() && bias.device() == x.device())),
        "depthwise_conv2d: one dtype (f32 for bf16 and f16) and device expected, got x ", x, ", weight ",
        weight, ", bias ", bias, ".");
  DepthwiseConv2dGeometry g{.channels = x.size(0),
                            .batch = x.size(1),
                            .input = {x.size(2), x.size(3)},
                            .output = {},
                            .kernel = {weight.size(2), weight.size(3)},
                            .stride = params.stride,
                            .padding = params.padding,
                            .dilation = params.dilation,
                            .forced = params.kernel,
                            .prepared = params.prepared};
  g.output.h = output_extent("H", g.input.h, g.kernel.h, g.stride.h, g.padding.h, g.dilation.h);
  g.output.w = output_extent("W", g.input.w, g.kernel.w, g.stride.w, g.padding.w, g.dilation.w);
  check_forced(g, x);
  return g;
}

const char* name_of(DepthwiseKernel kernel) {
  static constexpr const char* kNames[] = {"automatic", "naive", "direct", "rows", "fft", "tensor_core"};
  return kNames[static_cast<int>(kernel)];
}

Variable depthwise_conv2d(const Variable& x, const Variable& weight, const Variable& bias,
                          DepthwiseConv2dParams params) {
  const auto g = DepthwiseConv2dGeometry::of(x.data(), weight.data(), bias.data(), params);
  Tensor y = Tensor::empty(g.output_shape(), x.data().dtype(), x.data().device());
  const Tensor taps = cast(weight.data(), y.dtype());
  dispatch(
      "depthwise_conv2d", y.device(),
      [&] { cpu::depthwise_conv2d_forward(g, x.data(), taps, bias.data(), y); },
      [&] { cuda::depthwise_conv2d_forward(g, x.data(), taps, bias.data(), y); });
  return record("depthwise_conv2d", y, {x, weight, bias}, /*saved=*/{x.data(), taps},
                [g](const Saved& saved, const Tensor& dy, GradSink& grads) {
                  dispatch(
                      "depthwise_conv2d.backward", dy.device(),
                      [&] {
                        if (grads.wants(0) && grads.wants(1))
                          cpu::depthwise_conv2d_backward(g, saved[0], saved[1], dy, grads.into(0),
                                                         grads.into(1));
                        else if (grads.wants(0))
                          cpu::depthwise_conv2d_backward_input(g, saved[1], dy, grads.into(0));
                        else if (grads.wants(1))
                          cpu::depthwise_conv2d_backward_weight(g, saved[0], dy, grads.into(1));
                        if (grads.wants(2)) cpu::depthwise_conv2d_backward_bias(g, dy, grads.into(2));
                      },
                      [&] {
                        if (grads.wants(0))
                          cuda::depthwise_conv2d_backward_input(g, saved[1], dy, grads.into(0));
                        if (grads.wants(1))
                          cuda::depthwise_conv2d_backward_weight(g, saved[0], dy, grads.into(1));
                        if (grads.wants(2)) cuda::depthwise_conv2d_backward_bias(g, dy, grads.into(2));
                      });
                });
}

}  // namespace replk
