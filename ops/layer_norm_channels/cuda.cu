#include "core/cuda/grad_target.cuh"
#include "core/cuda/launch.cuh"
#include "core/cuda/reduce.cuh"
#include "ops/layer_norm_channels/layer_norm_channels.h"

namespace replk::cuda {
namespace {

// One thread per column goes down the channels three times: for the mean, for the variance, for the result.
// Neighbouring threads read neighbouring columns.
template <class T>
__global__ void forward_kernel(std::int64_t channels, std::int64_t columns, const T* x,
                               const Accumulator<T>* weight, const Accumulator<T>* bias, double eps,
                               Accumulator<T>* means, Accumulator<T>* inverses, T* y) {
  using A = Accumulator<T>;
  const A share = A{1} / static_cast<A>(channels);
  for (std::int64_t column = thread_index(); column < columns; column += thread_count()) {
    A sum = 0, squares = 0;
    for (std::int64_t c = 0; c < channels; ++c) sum += widen(x[c * columns + column]);
    const A mean = sum * share;
    for (std::int64_t c = 0; c < channels; ++c) {
      const A deviation = widen(x[c * columns + column]) - mean;
      squares += deviation * deviation;
    }
    const A inverse = A{1} / sqrt(squares * share + static_cast<A>(eps));
    for (std::int64_t c = 0; c < channels; ++c) {
      const A normal = (widen(x[c * columns + column]) - mean) * inverse;
      y[c * columns + column] = narrow<T>(normal * weight[c] + bias[c]);
    }
    means[column] = mean;
    inverses[column] = inverse;
  }
}

// One thread per column: two sums down the channels, then the gradient.
template <class T>
__global__ void backward_input_kernel(std::int64_t channels, std::int64_t columns, const T* x,
                                      const Accumulator<T>* weight, const Accumulator<T>* means,
                                      const Accumulator<T>* inverses, const T* dy, const Target<T> dx) {
  using A = Accumulator<T>;
  const A share = A{1} / static_cast<A>(channels);
  for (std::int64_t column = thread_index(); column < columns; column += thread_count()) {
    const A mean = means[column], inverse = inverses[column];
    A sum = 0, product = 0;
    for (std::int64_t c = 0; c < channels; ++c) {
      const A u = widen(dy[c * columns + column]) * weight[c];
      sum += u;
      product += u * (widen(x[c * columns + column]) - mean);
    }
    sum *= share;
    product *= share * inverse * inverse;
    for (std::int64_t c = 0; c < channels; ++c) {
      const A u = widen(dy[c * columns + column]) * weight[c];
      const A deviation = widen(x[c * columns + column]) - mean;
      dx.put(c * columns + column, (u - sum - deviation * product) * inverse);
    }
  }
}

// Per channel the sums of dy xhat and of dy.
template <class T>
struct ParameterGradients {
  using A = Accumulator<T>;
  using Sum = Sums<A, 2>;
  static constexpr int kLanes = kVectorLanes<T>;
  std::int64_t columns;
  const T *x, *dy;
  const A *means, *inverses;
  Target<A> dweight, dbias;  // without data where not wanted

  __device__ std::int64_t of_row(std::int64_t c) const { return c * columns; }
  template <int n>
  __device__ void add(std::int64_t row, std::int64_t i, Sum& sum) const {
    const auto values = load<n>(x + i), gradients = load<n>(dy + i);
    const auto mean = load<n>(means + (i - row)), inverse = load<n>(inverses + (i - row));
    for (int k = 0; k < n; ++k) {
      sum[0] += gradients[k] * ((values[k] - mean[k]) * inverse[k]);
      sum[1] += gradients[k];
    }
  }
  __device__ void finish(std::int64_t c, const Sum& sum) const {
    if (dweight.data) dweight.put(c, sum[0]);
    if (dbias.data) dbias.put(c, sum[1]);
  }
};

}  // namespace

void layer_norm_channels_forward(const LayerNormChannelsGeometry& g, const Tensor& x, const Tensor& weight,
                                 const Tensor& bias, double eps, Tensor& mean, Tensor& inverse_std,
                                 Tensor& y) {
  visit_floating("layer_norm_channels", x.dtype(), [&]<class T>(TypeTag<T>) {
    using A = Accumulator<T>;
    launch("layer_norm_channels", grid_stride(g.columns), forward_kernel<T>, g.channels, g.columns,
           x.data<T>(), weight.data<A>(), bias.data<A>(), eps, mean.data<A>(), inverse_std.data<A>(),
           y.data<T>());
  });
}

void layer_norm_channels_backward_input(const LayerNormChannelsGeometry& g, const Tensor& x,
                                        const Tensor& weight, const Tensor& mean, const Tensor& inverse_std,
                                        const Tensor& dy, GradTarget dx) {
  visit_floating("layer_norm_channels", dy.dtype(), [&]<class T>(TypeTag<T>) {
    using A = Accumulator<T>;
    launch("layer_norm_channels.backward_input", grid_stride(g.columns), backward_input_kernel<T>, g.channels,
           g.columns, x.data<T>(), weight.data<A>(), mean.data<A>(), inverse_std.data<A>(), dy.data<T>(),
           Target<T>{dx.tensor.data<T>(), dx.accumulate});
  });
}

void layer_norm_channels_backward_parameters(const LayerNormChannelsGeometry& g, const Tensor& x,
                                             const Tensor& mean, const Tensor& inverse_std, const Tensor& dy,
                                             GradTarget dweight, GradTarget dbias) {
  visit_floating("layer_norm_channels", dy.dtype(), [&]<class T>(TypeTag<T>) {
    using A = Accumulator<T>;
    const ParameterGradients<T> f{g.columns,
                                  x.data<T>(),
                                  dy.data<T>(),
                                  mean.data<A>(),
                                  inverse_std.data<A>(),
                                  optional_target<A>(dweight),
                                  optional_target<A>(dbias)};
    reduce_rows("layer_norm_channels.backward_parameters", g.channels, g.columns, f,
                aligned(f.x, f.dy, f.means, f.inverses));
  });
}

}  // namespace replk::cuda
