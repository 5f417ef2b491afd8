#include "core/cuda/reduce.cuh"
#include "ops/conv2d/conv2d.h"
#include "ops/primitives/activation.cuh"
#include "ops/primitives/gemm_cuda.h"
#include "ops/primitives/im2col.cuh"

namespace replk::cuda {
namespace {

constexpr std::int64_t kColumnBytes = std::int64_t{256}
                                      << 20;  // of an im2col matrix, unless one sample is larger

// y[o, ...] = activation(y[o, ...] + bias[o])
template <class Function, class T>
struct Finish {
  static constexpr int kLanes = kVectorLanes<T>;
  const Accumulator<T>* bias;  // or none
  T* y;

  __device__ Accumulator<T> of_row(std::int64_t o) const { return bias ? bias[o] : 0; }
  template <int n>
  __device__ void run(Accumulator<T> shift, std::int64_t i) const {
    auto values = load<n>(y + i);
    for (int k = 0; k < n; ++k) values[k] = Function::value(values[k] + shift);
    store(y + i, values);
  }
};

// A convolution that is not pointwise goes through im2col, a few samples at a time and a group at a time.
class Blocks {
 public:
  Blocks(const Conv2dGeometry& g, std::size_t element) : g_(g) {
    const std::int64_t sample = g.taps() * per_sample() * static_cast<std::int64_t>(element);
    samples_ = std::clamp<std::int64_t>(kColumnBytes / std::max<std::int64_t>(sample, 1), 1,
                                        std::max<std::int64_t>(g.batch, 1));
  }

  std::int64_t per_sample() const { return g_.out.h * g_.out.w; }
  std::int64_t elements() const { return g_.taps() * samples_ * per_sample(); }
  std::int64_t channel_stride() const { return g_.batch * g_.in.h * g_.in.w; }
  Windows windows() const {
    return {g_.in, g_.out, g_.kernel, g_.params.stride, g_.params.padding, g_.params.dilation};
  }
  /// Offsets of a group's part, from a sample on, in a map like x, in y, and in the weights.
  std::int64_t in_x(std::int64_t group, std::int64_t sample) const {
    return group * g_.group_in() * channel_stride() + sample * g_.in.h * g_.in.w;
  }
  std::int64_t in_y(std::int64_t group, std::int64_t sample) const {
    return group * g_.group_out() * g_.columns() + sample * per_sample();
  }
  std::int64_t in_weight(std::int64_t group) const { return group * g_.group_out() * g_.taps(); }

  /// Calls f(group, first sample, samples) for every block, the blocks of a group in order.
  template <class F>
  void for_each(const F& f) const {
    for (std::int64_t group = 0; group < g_.params.groups; ++group)
      for (std::int64_t first = 0; first < g_.batch; first += samples_)
        f(group, first, std::min(samples_, g_.batch - first));
  }

 private:
  const Conv2dGeometry& g_;
  std::int64_t samples_;
};

template <class T>
void im2col(const Conv2dGeometry& g, const Blocks& blocks, std::int64_t samples, const T* x, T* columns) {
  const Im2col<T> f{blocks.windows(), samples, blocks.channel_stride(), x, columns};
  elementwise("conv2d.im2col", g.taps() * samples * blocks.per_sample(), f, false);
}

template <class T>
void forward_blocks(const Conv2dGeometry& g, const T* x, const T* weight, T* y) {
  const Blocks blocks(g, sizeof(T));
  Tensor columns = Tensor::empty({blocks.elements()}, dtype_of<T>(), Device::cuda());
  T* block = columns.data<T>();
  blocks.for_each([&](std::int64_t group, std::int64_t first, std::int64_t samples) {
    const std::int64_t width = samples * blocks.per_sample();
    im2col(g, blocks, samples, x + blocks.in_x(group, first), block);
    gemm("conv2d", g.group_out(), width, g.taps(),
         Matrix<const T>{weight + blocks.in_weight(group), g.taps()}, Matrix<const T>{block, width},
         Matrix<T>{y + blocks.in_y(group, first), g.columns()},
         /*accumulate=*/false);
  });
}

// The products of one tap are kept in the accumulator's precision until they are summed.
template <class T>
void backward_input_blocks(const Conv2dGeometry& g, const T* weight, const T* dy, Target<T> dx) {
  using A = Accumulator<T>;
  const Blocks blocks(g, sizeof(A));
  Tensor columns = Tensor::empty({blocks.elements()}, dtype_of<A>(), Device::cuda());
  A* block = columns.data<A>();
  blocks.for_each([&](std::int64_t group, std::int64_t first, std::int64_t samples) {
    const std::int64_t width = samples * blocks.per_sample();
    gemm("conv2d.backward_input", g.taps(), width, g.group_out(),
         Matrix<const T>{weight + blocks.in_weight(group), g.taps(), /*transposed=*/true},
         Matrix<const T>{dy + blocks.in_y(group, first), g.columns()}, Matrix<A>{block, width},
         /*accumulate=*/false);
    const Col2im<T> f{blocks.windows(),
                      samples,
                      blocks.channel_stride(),
                      block,
                      {dx.data + blocks.in_x(group, first), dx.accumulate}};
    elementwise("conv2d.col2im", g.group_in() * samples * g.in.h * g.in.w, f, false);
  });
}

template <class T>
void backward_weight_blocks(const Conv2dGeometry& g, const T* x, const T* dy, Accumulator<T>* dweight,
                            bool accumulate) {
  const Blocks blocks(g, sizeof(T));
  Tensor columns = Tensor::empty({blocks.elements()}, dtype_of<T>(), Device::cuda());
  T* block = columns.data<T>();
  blocks.for_each([&](std::int64_t group, std::int64_t first, std::int64_t samples) {
    const std::int64_t width = samples * blocks.per_sample();
    im2col(g, blocks, samples, x + blocks.in_x(group, first), block);
    gemm("conv2d.backward_weight", g.group_out(), g.taps(), width,
         Matrix<const T>{dy + blocks.in_y(group, first), g.columns()},
         Matrix<const T>{block, width, /*transposed=*/true},
         Matrix<Accumulator<T>>{dweight + blocks.in_weight(group), g.taps()}, accumulate || first > 0);
  });
}

}  // namespace

void conv2d_forward(const Conv2dGeometry& g, const Tensor& x, const Tensor& weight, const Tensor& bias,
                    Tensor& y) {
  visit_floating("conv2d", x.dtype(), [&]<class T>(TypeTag<T>) {
    T* to = y.data<T>();
    if (g.pointwise())
      gemm("conv2d", g.out_channels, g.columns(), g.in_channels,
           Matrix<const T>{weight.data<T>(), g.in_channels}, Matrix<const T>{x.data<T>(), g.columns()},
           Matrix<T>{to, g.columns()}, /*accumulate=*/false);
    else
      forward_blocks(g, x.data<T>(), weight.data<T>(), to);
    if (!bias.defined() && g.params.activation == Activation::none) return;
    visit_activation(g.params.activation, [&]<class Function>(Function) {
      const Finish<Function, T> f{bias.defined() ? bias.data<Accumulator<T>>() : nullptr, to};
      rowwise("conv2d.bias", g.out_channels, g.columns(), f, aligned(to));
    });
  });
}

void conv2d_backward_input(const Conv2dGeometry& g, const Tensor& weight, const Tensor& dy, GradTarget dx) {
  visit_floating("conv2d", dy.dtype(), [&]<class T>(TypeTag<T>) {
    T* to = dx.tensor.data<T>();
    if (!g.pointwise())
      return backward_input_blocks(g, weight.data<T>(), dy.data<T>(), Target<T>{to, dx.accumulate});
    gemm("conv2d.backward_input", g.in_channels, g.columns(), g.out_channels,
         Matrix<const T>{weight.data<T>(), g.in_channels, /*transposed=*/true},
         Matrix<const T>{dy.data<T>(), g.columns()}, Matrix<T>{to, g.columns()}, dx.accumulate);
  });
}

void conv2d_backward_weight(const Conv2dGeometry& g, const Tensor& x, const Tensor& dy, GradTarget dweight) {
  if (g.batch == 0 && !dweight.accumulate) return dweight.tensor.fill(0);
  visit_floating("conv2d", dy.dtype(), [&]<class T>(TypeTag<T>) {
    Accumulator<T>* to = dweight.tensor.data<Accumulator<T>>();
    if (!g.pointwise()) return backward_weight_blocks(g, x.data<T>(), dy.data<T>(), to, dweight.accumulate);
    gemm("conv2d.backward_weight", g.out_channels, g.in_channels, g.columns(),
         Matrix<const T>{dy.data<T>(), g.columns()},
         Matrix<const T>{x.data<T>(), g.columns(), /*transposed=*/true},
         Matrix<Accumulator<T>>{to, g.in_channels}, dweight.accumulate);
  });
}

void conv2d_backward_bias(const Conv2dGeometry& g, const Tensor& dy, GradTarget dbias) {
  visit_floating("conv2d", dy.dtype(), [&]<class T>(TypeTag<T>) {
    const RowSums<T> f{dy.data<T>(), {dbias.tensor.data<Accumulator<T>>(), dbias.accumulate}};
    reduce_rows("conv2d.backward_bias", g.out_channels, g.columns(), f, aligned(f.x));
  });
}

}  // namespace replk::cuda
