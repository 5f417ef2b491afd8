// The kernel that reads like the formula, one thread per element of the result, and the choice between it,
// the direct one (cuda_direct.cu) and the tensor-core ones (cuda_correlate.cu, cuda_weight_gradient.cu).
#include "core/cuda/launch.cuh"
#include "core/cuda/reduce.cuh"
#include "core/cuda/vector.cuh"
#include "ops/depthwise_conv2d/depthwise_conv2d.h"

namespace replk::cuda {
namespace {

template <class T>
struct NaiveArgs {
  DepthwiseConv2dGeometry g;
  const T *x, *weight;
  const Accumulator<T>* bias;  // or none
  const T* dy;
  Target<T> target;  // y or dx
  Target<Accumulator<T>> dweight = {};
};

template <class T>
__global__ void forward_naive(const NaiveArgs<T> args) {
  const DepthwiseConv2dGeometry& g = args.g;
  const std::int64_t out = g.output.h * g.output.w, in = g.input.h * g.input.w;
  for (std::int64_t index = thread_index(); index < g.channels * g.batch * out; index += thread_count()) {
    const auto [plane, pixel] = divide(index, out);
    const auto [i, j] = divide(pixel, g.output.w);
    const std::int64_t c = divide(plane, g.batch).quotient;
    const T *x = args.x + plane * in, *weight = args.weight + c * g.kernel.h * g.kernel.w;
    Accumulator<T> sum = args.bias ? args.bias[c] : Accumulator<T>(0);
    for (std::int64_t u = 0; u < g.kernel.h; ++u) {
      const std::int64_t h = i * g.stride.h - g.padding.h + u * g.dilation.h;
      if (h < 0 || h >= g.input.h) continue;
      for (std::int64_t v = 0; v < g.kernel.w; ++v) {
        const std::int64_t w = j * g.stride.w - g.padding.w + v * g.dilation.w;
        if (w >= 0 && w < g.input.w) sum += widen(weight[u * g.kernel.w + v]) * widen(x[h * g.input.w + w]);
      }
    }
    args.target.put(index, sum);
  }
}

template <class T>
__global__ void backward_input_naive(const NaiveArgs<T> args) {
  const DepthwiseConv2dGeometry& g = args.g;
  const std::int64_t out = g.output.h * g.output.w, in = g.input.h * g.input.w;
  for (std::int64_t index = thread_index(); index < g.channels * g.batch * in; index += thread_count()) {
    const auto [plane, pixel] = divide(index, in);
    const auto [h, w] = divide(pixel, g.input.w);
    const std::int64_t c = divide(plane, g.batch).quotient;
    const T *dy = args.dy + plane * out, *weight = args.weight + c * g.kernel.h * g.kernel.w;
    Accumulator<T> sum = 0;
    for (std::int64_t u = 0; u < g.kernel.h; ++u) {
      const std::int64_t i = h + g.padding.h - u * g.dilation.h;  // times the stride
      if (i < 0 || i % g.stride.h || i / g.stride.h >= g.output.h) continue;
      for (std::int64_t v = 0; v < g.kernel.w; ++v) {
        const std::int64_t j = w + g.padding.w - v * g.dilation.w;
        if (j < 0 || j % g.stride.w || j / g.stride.w >= g.output.w) continue;
        sum += widen(weight[u * g.kernel.w + v]) * widen(dy[i / g.stride.h * g.output.w + j / g.stride.w]);
      }
    }
    args.target.put(index, sum);
  }
}

// One block per tap: its threads take the outputs in steps, and their sums are added in a fixed order.
template <class T>
__global__ void backward_weight_naive(const NaiveArgs<T> args) {
  using Sum = Sums<Accumulator<T>, 1>;
  const DepthwiseConv2dGeometry& g = args.g;
  const std::int64_t out = g.output.h * g.output.w, in = g.input.h * g.input.w;
  const auto [c, tap] = divide(blockIdx.x, g.kernel.h * g.kernel.w);
  const auto [u, v] = divide(tap, g.kernel.w);
  const T *x = args.x + c * g.batch * in, *dy = args.dy + c * g.batch * out;
  Sum sum = Sum::zero();
  for (std::int64_t index = threadIdx.x; index < g.batch * out; index += blockDim.x) {
    const auto [n, pixel] = divide(index, out);
    const auto [i, j] = divide(pixel, g.output.w);
    const std::int64_t h = i * g.stride.h - g.padding.h + u * g.dilation.h;
    const std::int64_t w = j * g.stride.w - g.padding.w + v * g.dilation.w;
    if (h >= 0 && h < g.input.h && w >= 0 && w < g.input.w)
      sum[0] += widen(dy[index]) * widen(x[n * in + h * g.input.w + w]);
  }
  sum = block_reduce(sum);
  if (threadIdx.x == 0) args.dweight.put(blockIdx.x, sum[0]);
}

}  // namespace

void depthwise_conv2d_forward(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& weight,
                              const Tensor& bias, Tensor& y) {
  const DepthwiseKernel kernel = choose_depthwise_kernel(g, x.dtype());
  if (kernel == DepthwiseKernel::direct) return depthwise_conv2d_forward_direct(g, x, weight, bias, y);
  if (kernel == DepthwiseKernel::fft) return depthwise_conv2d_forward_fft(g, x, weight, bias, y);
  if (kernel == DepthwiseKernel::tensor_core)
    return depthwise_conv2d_forward_tensor_core(g, x, weight, bias, y);
  visit_floating("depthwise_conv2d", x.dtype(), [&]<class T>(TypeTag<T>) {
    const NaiveArgs<T> args{g,
                            x.data<T>(),
                            weight.data<T>(),
                            bias.defined() ? bias.data<Accumulator<T>>() : nullptr,
                            nullptr,
                            {y.data<T>(), false}};
    launch("depthwise_conv2d", grid_stride(y.numel()), forward_naive<T>, args);
  });
}

void depthwise_conv2d_backward_input(const DepthwiseConv2dGeometry& g, const Tensor& weight, const Tensor& dy,
                                     GradTarget dx) {
  const DepthwiseKernel kernel = choose_depthwise_kernel(g, dy.dtype());
  if (kernel == DepthwiseKernel::direct) return depthwise_conv2d_backward_input_direct(g, weight, dy, dx);
  if (kernel == DepthwiseKernel::fft) return depthwise_conv2d_backward_input_fft(g, weight, dy, dx);
  if (kernel == DepthwiseKernel::tensor_core)
    return depthwise_conv2d_backward_input_tensor_core(g, weight, dy, dx);
  visit_floating("depthwise_conv2d", dy.dtype(), [&]<class T>(TypeTag<T>) {
    const NaiveArgs<T> args{g,       nullptr,      weight.data<T>(),
                            nullptr, dy.data<T>(), {dx.tensor.data<T>(), dx.accumulate}};
    launch("depthwise_conv2d.backward_input", grid_stride(dx.tensor.numel()), backward_input_naive<T>, args);
  });
}

void depthwise_conv2d_backward_weight(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& dy,
                                      GradTarget dweight) {
  const DepthwiseKernel kernel = choose_depthwise_kernel(g, dy.dtype());
  if (kernel == DepthwiseKernel::direct) return depthwise_conv2d_backward_weight_direct(g, x, dy, dweight);
  if (kernel == DepthwiseKernel::fft) return depthwise_conv2d_backward_weight_fft(g, x, dy, dweight);
  if (kernel == DepthwiseKernel::tensor_core)
    return depthwise_conv2d_backward_weight_tensor_core(g, x, dy, dweight);
  visit_floating("depthwise_conv2d", dy.dtype(), [&]<class T>(TypeTag<T>) {
    const NaiveArgs<T> args{g,
                            x.data<T>(),
                            nullptr,
                            nullptr,
                            dy.data<T>(),
                            {},
                            {dweight.tensor.data<Accumulator<T>>(), dweight.accumulate}};
    launch("depthwise_conv2d.backward_weight", {g.channels * g.taps(), kThreads}, backward_weight_naive<T>,
           args);
  });
}

void depthwise_conv2d_backward_bias(const DepthwiseConv2dGeometry& g, const Tensor& dy, GradTarget dbias) {
  visit_floating("depthwise_conv2d", dy.dtype(), [&]<class T>(TypeTag<T>) {
    const RowSums<T> f{dy.data<T>(), {dbias.tensor.data<Accumulator<T>>(), dbias.accumulate}};
    reduce_rows("depthwise_conv2d.backward_bias", g.channels, g.batch * g.output.area(), f, aligned(f.x));
  });
}

}  // namespace replk::cuda
