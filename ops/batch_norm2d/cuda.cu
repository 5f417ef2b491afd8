#include "core/cuda/elementwise.cuh"
#include "core/cuda/grad_target.cuh"
#include "core/cuda/reduce.cuh"
#include "ops/batch_norm2d/batch_norm2d.h"
#include "ops/primitives/activation.cuh"

namespace replk::cuda {
namespace {

// Sums of the deviations of a set of numbers from a pivot, the same for all of a channel, and of their
// squares: so that merging two sets is three additions. A pivot near the mean keeps the digits which E[x^2] -
// E[x]^2 would lose; the mean of the channel's first few elements is near enough.
template <class A>
struct Moments {
  A first, second;

  __device__ static Moments zero() { return {0, 0}; }
  __device__ void merge(const Moments& other) {
    first += other.first;
    second += other.second;
  }
};

template <class T>
struct Statistics {
  using A = Accumulator<T>;
  using Sum = Moments<A>;
  static constexpr int kLanes = kVectorLanes<T>;
  const T* x;
  std::int64_t columns;
  double eps, momentum;
  A *mean, *inverse_std;
  A *running_mean, *running_var;  // or none

  __device__ A of_row(std::int64_t c) const {
    constexpr int kSome = 8;
    if (columns == 0) return 0;
    const std::int64_t count = columns < kSome ? columns : kSome, step = columns / count;
    A pivot = 0;
    for (int i = 0; i < count; ++i) pivot += widen(x[c * columns + i * step]);
    return pivot / static_cast<A>(count);
  }
  template <int n>
  __device__ void add(A pivot, std::int64_t i, Sum& sum) const {
    const auto values = load<n>(x + i);
    for (int k = 0; k < n; ++k) {
      const A deviation = values[k] - pivot;
      sum.first += deviation;
      sum.second += deviation * deviation;
    }
  }
  __device__ void finish(std::int64_t c, const Sum& sum) const {
    const double first = sum.first, shift = first / static_cast<double>(columns);
    const double center = of_row(c) + shift, rest = sum.second - first * shift;
    const double squares = rest < 0 ? 0 : rest;  // rounding must not leave it below 0; NaN stays
    mean[c] = static_cast<A>(center);
    inverse_std[c] = static_cast<A>(1 / sqrt(squares / static_cast<double>(columns) + eps));
    if (!running_mean) return;
    running_mean[c] = static_cast<A>((1 - momentum) * double{running_mean[c]} + momentum * center);
    running_var[c] = static_cast<A>((1 - momentum) * double{running_var[c]} +
                                    momentum * (squares / static_cast<double>(columns - 1)));
  }
};

// Evaluation: one thread per channel.
template <class A>
__global__ void take_running_kernel(std::int64_t channels, double eps, const A* running_mean,
                                    const A* running_var, A* mean, A* inverse_std) {
  for (std::int64_t c = thread_index(); c < channels; c += thread_count()) {
    mean[c] = running_mean[c];
    inverse_std[c] = static_cast<A>(1 / sqrt(double{running_var[c]} + eps));
  }
}

// What the normalisation of one channel needs: z = (x - mean) scale + shift.
template <class A>
struct Channel {
  A mean, scale, shift;
  __device__ A normal(A x) const { return (x - mean) * scale + shift; }
};

template <class A>
struct Channels {
  const A *mean, *inverse_std, *weight, *bias;
  __device__ Channel<A> operator[](std::int64_t c) const {
    return {mean[c], weight[c] * inverse_std[c], bias[c]};
  }
};

template <class Function, class T>
struct Normalise {
  using A = Accumulator<T>;
  static constexpr int kLanes = kVectorLanes<T>;
  Channels<A> channels;
  const T* x;
  T* y;

  __device__ Channel<A> of_row(std::int64_t c) const { return channels[c]; }
  template <int n>
  __device__ void run(const Channel<A>& channel, std::int64_t i) const {
    auto values = load<n>(x + i);
    for (int k = 0; k < n; ++k) values[k] = Function::value(channel.normal(values[k]));
    store(y + i, values);
  }
};

// Per channel the sums of dz and of dz (x - mean), where dz = dy slope(z).
template <class Function, class T>
struct GradientSums {
  using A = Accumulator<T>;
  using Sum = Sums<A, 2>;
  static constexpr int kLanes = kVectorLanes<T>;
  Channels<A> channels;
  const T *x, *dy;
  A* sums;                   // (C, 2), for the gradient of x
  Target<A> dweight, dbias;  // without data where not wanted

  __device__ Channel<A> of_row(std::int64_t c) const { return channels[c]; }
  template <int n>
  __device__ void add(const Channel<A>& channel, std::int64_t i, Sum& sum) const {
    const auto values = load<n>(x + i), gradients = load<n>(dy + i);
    for (int k = 0; k < n; ++k) {
      const A dz = gradients[k] * Function::slope(channel.normal(values[k]));
      sum[0] += dz;
      sum[1] += dz * (values[k] - channel.mean);
    }
  }
  __device__ void finish(std::int64_t c, const Sum& sum) const {
    sums[2 * c] = sum[0];
    sums[2 * c + 1] = sum[1];
    if (dweight.data) dweight.put(c, sum[1] * channels.inverse_std[c]);
    if (dbias.data) dbias.put(c, sum[0]);
  }
};

// dx = dz scale - (x - mean) slope - offset; in evaluation the last two are 0, mean and variance being
// constants.
template <class Function, class T>
struct InputGradient {
  using A = Accumulator<T>;
  struct Row {
    Channel<A> channel;
    A slope, offset;
  };
  static constexpr int kLanes = kVectorLanes<T>;
  Channels<A> channels;
  const T *x, *dy;
  const A* sums;  // or none, in evaluation
  A columns;
  Target<T> dx;

  __device__ Row of_row(std::int64_t c) const {
    const Channel<A> channel = channels[c];
    if (!sums) return {channel, 0, 0};
    const A r = channels.inverse_std[c];
    return {channel, channel.scale * r * r * (sums[2 * c + 1] / columns),
            channel.scale * (sums[2 * c] / columns)};
  }
  template <int n>
  __device__ void run(const Row& row, std::int64_t i) const {
    const auto values = load<n>(x + i);
    auto gradient = load<n>(dy + i);
    for (int k = 0; k < n; ++k) {
      const A dz = gradient[k] * Function::slope(row.channel.normal(values[k]));
      gradient[k] = dz * row.channel.scale - (values[k] - row.channel.mean) * row.slope - row.offset;
    }
    dx.template put<n>(i, gradient);
  }
};

template <class T>
void normalise(const BatchNorm2dGeometry& g, const Channels<Accumulator<T>>& channels, Activation activation,
               const Tensor& x, Tensor& y) {
  visit_activation(activation, [&]<class Function>(Function) {
    const Normalise<Function, T> f{channels, x.data<T>(), y.data<T>()};
    rowwise("batch_norm2d", g.channels, g.columns, f, aligned(f.x, f.y));
  });
}

}  // namespace

void batch_norm2d_forward_training(const BatchNorm2dGeometry& g, const Tensor& x, const Tensor& weight,
                                   const Tensor& bias, const BatchNorm2dParams& params, Tensor& mean,
                                   Tensor& inverse_std, Tensor& running_mean, Tensor& running_var,
                                   Tensor& y) {
  visit_floating("batch_norm2d", x.dtype(), [&]<class T>(TypeTag<T>) {
    using A = Accumulator<T>;
    const bool move = params.update_statistics;
    const Statistics<T> statistics{x.data<T>(),
                                   g.columns,
                                   params.eps,
                                   params.momentum,
                                   mean.data<A>(),
                                   inverse_std.data<A>(),
                                   move ? running_mean.data<A>() : nullptr,
                                   move ? running_var.data<A>() : nullptr};
    reduce_rows("batch_norm2d.statistics", g.channels, g.columns, statistics, aligned(statistics.x));
    const Channels<A> channels{statistics.mean, statistics.inverse_std, weight.data<A>(), bias.data<A>()};
    normalise<T>(g, channels, params.activation, x, y);
  });
}

void batch_norm2d_forward_eval(const BatchNorm2dGeometry& g, const Tensor& x, const Tensor& weight,
                               const Tensor& bias, const BatchNorm2dParams& params,
                               const Tensor& running_mean, const Tensor& running_var, Tensor& mean,
                               Tensor& inverse_std, Tensor& y) {
  visit_floating("batch_norm2d", x.dtype(), [&]<class T>(TypeTag<T>) {
    using A = Accumulator<T>;
    launch("batch_norm2d.statistics", grid_stride(g.channels), take_running_kernel<A>, g.channels, params.eps,
           running_mean.data<A>(), running_var.data<A>(), mean.data<A>(), inverse_std.data<A>());
    const Channels<A> channels{mean.data<A>(), inverse_std.data<A>(), weight.data<A>(), bias.data<A>()};
    normalise<T>(g, channels, params.activation, x, y);
  });
}

void batch_norm2d_backward(const BatchNorm2dGeometry& g, const BatchNorm2dSaved& saved,
                           const BatchNorm2dParams& params, const Tensor& dy, BatchNorm2dGradients into) {
  visit_floating("batch_norm2d", dy.dtype(), [&]<class T>(TypeTag<T>) {
    using A = Accumulator<T>;
    const T *x = saved.x.data<T>(), *gradient = dy.data<T>();
    const Channels<A> channels{saved.mean.data<A>(), saved.inverse_std.data<A>(), saved.weight.data<A>(),
                               saved.bias.data<A>()};
    Tensor sums;
    visit_activation(params.activation, [&]<class Function>(Function) {
      if (params.training || into.weight.tensor.defined() || into.bias.tensor.defined()) {
        sums = Tensor::empty({g.channels, 2}, dtype_of<A>(), dy.device());
        const GradientSums<Function, T> f{channels,
                                          x,
                                          gradient,
                                          sums.data<A>(),
                                          optional_target<A>(into.weight),
                                          optional_target<A>(into.bias)};
        reduce_rows("batch_norm2d.backward_parameters", g.channels, g.columns, f, aligned(x, gradient));
      }
      if (!into.x.tensor.defined()) return;
      const InputGradient<Function, T> f{channels,
                                         x,
                                         gradient,
                                         params.training ? sums.data<A>() : nullptr,
                                         static_cast<A>(g.columns),
                                         {into.x.tensor.data<T>(), into.x.accumulate}};
      rowwise("batch_norm2d.backward_input", g.channels, g.columns, f, aligned(x, gradient, f.dx.data));
    });
  });
}

}  // namespace replk::cuda
