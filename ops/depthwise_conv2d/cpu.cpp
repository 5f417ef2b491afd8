// The variant a call asks for, the kernel that reads like the formula, and the bias gradient.
#include "core/parallel.h"
#include "ops/depthwise_conv2d/depthwise_conv2d.h"

namespace replk::cpu {
namespace {

// Index in the input that output `o` reads through tap `t`; outside [0, extent) it stands for a zero.
std::int64_t input_index(std::int64_t o, std::int64_t t, std::int64_t stride, std::int64_t padding,
                         std::int64_t dilation) {
  return o * stride - padding + t * dilation;
}

// Calls f(i, h, j, w) for every output row i and column j that reads input (h, w) through tap (u, v).
template <class F>
void for_pairs(const DepthwiseConv2dGeometry& g, std::int64_t u, std::int64_t v, const F& f) {
  for (std::int64_t i = 0; i < g.output.h; ++i) {
    const std::int64_t h = input_index(i, u, g.stride.h, g.padding.h, g.dilation.h);
    if (h < 0 || h >= g.input.h) continue;
    for (std::int64_t j = 0; j < g.output.w; ++j) {
      const std::int64_t w = input_index(j, v, g.stride.w, g.padding.w, g.dilation.w);
      if (w >= 0 && w < g.input.w) f(i * g.output.w + j, h * g.input.w + w);
    }
  }
}

}  // namespace

void depthwise_conv2d_forward_naive(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& weight,
                                    const Tensor& bias, Tensor& y) {
  visit_real("depthwise_conv2d", x.dtype(), [&]<class T>(TypeTag<T>) {
    const T *from = x.data<T>(), *kernel = weight.data<T>(),
            *offset = bias.defined() ? bias.data<T>() : nullptr;
    T* to = y.data<T>();
    const std::int64_t in = g.input.h * g.input.w, out = g.output.h * g.output.w;
    parallel_for(g.channels * g.batch, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t plane = begin; plane < end; ++plane) {
        const std::int64_t c = plane / g.batch;
        std::fill_n(to + plane * out, out, offset ? offset[c] : T(0));
        for (std::int64_t u = 0; u < g.kernel.h; ++u)
          for (std::int64_t v = 0; v < g.kernel.w; ++v) {
            const T tap = kernel[c * g.taps() + u * g.kernel.w + v];
            for_pairs(g, u, v, [&](std::int64_t o, std::int64_t i) {
              to[plane * out + o] += tap * from[plane * in + i];
            });
          }
      }
    });
  });
}

void depthwise_conv2d_backward_input_naive(const DepthwiseConv2dGeometry& g, const Tensor& weight,
                                           const Tensor& dy, GradTarget dx) {
  visit_real("depthwise_conv2d", dy.dtype(), [&]<class T>(TypeTag<T>) {
    const T *from = dy.data<T>(), *kernel = weight.data<T>();
    T* to = dx.tensor.data<T>();
    const std::int64_t in = g.input.h * g.input.w, out = g.output.h * g.output.w;
    parallel_for(g.channels * g.batch, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t plane = begin; plane < end; ++plane) {
        const std::int64_t c = plane / g.batch;
        if (!dx.accumulate) std::fill_n(to + plane * in, in, T(0));
        for (std::int64_t u = 0; u < g.kernel.h; ++u)
          for (std::int64_t v = 0; v < g.kernel.w; ++v) {
            const T tap = kernel[c * g.taps() + u * g.kernel.w + v];
            for_pairs(g, u, v, [&](std::int64_t o, std::int64_t i) {
              to[plane * in + i] += tap * from[plane * out + o];
            });
          }
      }
    });
  });
}

void depthwise_conv2d_backward_weight_naive(const DepthwiseConv2dGeometry& g, const Tensor& x,
                                            const Tensor& dy, GradTarget dweight) {
  visit_real("depthwise_conv2d", dy.dtype(), [&]<class T>(TypeTag<T>) {
    const T *from = x.data<T>(), *gradient = dy.data<T>();
    T* to = dweight.tensor.data<T>();
    const std::int64_t in = g.input.h * g.input.w, out = g.output.h * g.output.w;
    parallel_for(g.channels * g.taps(), 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t index = begin; index < end; ++index) {
        const std::int64_t c = index / g.taps(), u = index % g.taps() / g.kernel.w, v = index % g.kernel.w;
        T total = 0;
        for (std::int64_t plane = c * g.batch; plane < (c + 1) * g.batch; ++plane) {
          T sum = 0;  // one plane at a time: shorter sums round less
          for_pairs(g, u, v, [&](std::int64_t o, std::int64_t i) {
            sum += gradient[plane * out + o] * from[plane * in + i];
          });
          total += sum;
        }
        to[index] = dweight.accumulate ? to[index] + total : total;
      }
    });
  });
}

void depthwise_conv2d_backward_bias(const DepthwiseConv2dGeometry& g, const Tensor& dy, GradTarget dbias) {
  visit_real("depthwise_conv2d", dy.dtype(), [&]<class T>(TypeTag<T>) {
    const T* from = dy.data<T>();
    T* to = dbias.tensor.data<T>();
    const std::int64_t out = g.output.h * g.output.w;
    parallel_for(g.channels, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t c = begin; c < end; ++c) {
        T total = 0;
        for (std::int64_t plane = c * g.batch; plane < (c + 1) * g.batch; ++plane) {
          T sum = 0;
          for (std::int64_t i = 0; i < out; ++i) sum += from[plane * out + i];
          total += sum;
        }
        to[c] = dbias.accumulate ? to[c] + total : total;
      }
    });
  });
}

void depthwise_conv2d_forward(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& weight,
                              const Tensor& bias, Tensor& y) {
  switch (choose_depthwise_kernel(g, DepthwisePass::forward)) {
    case DepthwiseKernel::fft:
      return depthwise_conv2d_forward_fft(g, x, weight, bias, y);
    case DepthwiseKernel::rows:
      return depthwise_conv2d_forward_rows(g, x, weight, bias, y);
    case DepthwiseKernel::direct:
      return depthwise_conv2d_forward_direct(g, x, weight, bias, y);
    default:
      return depthwise_conv2d_forward_naive(g, x, weight, bias, y);
  }
}

void depthwise_conv2d_backward_input(const DepthwiseConv2dGeometry& g, const Tensor& weight, const Tensor& dy,
                                     GradTarget dx) {
  switch (choose_depthwise_kernel(g, DepthwisePass::backward_input)) {
    case DepthwiseKernel::fft:
      return depthwise_conv2d_backward_fft(g, {}, weight, dy, &dx, nullptr);
    case DepthwiseKernel::rows:
      return depthwise_conv2d_backward_input_rows(g, weight, dy, dx);
    case DepthwiseKernel::direct:
      return depthwise_conv2d_backward_input_direct(g, weight, dy, dx);
    default:
      return depthwise_conv2d_backward_input_naive(g, weight, dy, dx);
  }
}

void depthwise_conv2d_backward_weight(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& dy,
                                      GradTarget dweight) {
  switch (choose_depthwise_kernel(g, DepthwisePass::backward_weight)) {
    case DepthwiseKernel::fft:
      return depthwise_conv2d_backward_fft(g, x, {}, dy, nullptr, &dweight);
    case DepthwiseKernel::rows:
      return depthwise_conv2d_backward_weight_rows(g, x, dy, dweight);
    case DepthwiseKernel::direct:
      return depthwise_conv2d_backward_weight_direct(g, x, dy, dweight);
    default:
      return depthwise_conv2d_backward_weight_naive(g, x, dy, dweight);
  }
}

void depthwise_conv2d_backward(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& weight,
                               const Tensor& dy, GradTarget dx, GradTarget dweight) {
  if (choose_depthwise_kernel(g, DepthwisePass::backward_input) == DepthwiseKernel::fft &&
      choose_depthwise_kernel(g, DepthwisePass::backward_weight) == DepthwiseKernel::fft)
    return depthwise_conv2d_backward_fft(g, x, weight, dy, &dx, &dweight);
  depthwise_conv2d_backward_input(g, weight, dy, dx);
  depthwise_conv2d_backward_weight(g, x, dy, dweight);
}

}  // namespace replk::cpu
