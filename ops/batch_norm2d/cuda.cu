#include "core/cuda/elementwise.cuh"
#include "core/cuda/grad_target.cuh"
#include "core/cuda/reduce.cuh"
#include "core/cuda/row_on_chip.cuh"
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
  double per_column, eps, momentum;  // per_column: 1 / columns
  A *mean, *inverse_std;
  A *running_mean, *running_var;  // or none

  // The pivot; a short row has some of its elements in it several times.
  __device__ A of_row(std::int64_t c) const {
    constexpr int kSome = 8;
    A pivot = 0;
#pragma unroll
    for (int i = 0; i < kSome; ++i) pivot += columns > 0 ? widen(x[c * columns + i * columns / kSome]) : 0;
    return pivot / kSome;
  }
  template <int n>
  __device__ static void add(A pivot, const Lanes<A, n>& values, Sum& sum) {
    for (int k = 0; k < n; ++k) {
      const A deviation = values[k] - pivot;
      sum.first += deviation;
      sum.second += deviation * deviation;
    }
  }
  template <int n>
  __device__ void add(A pivot, std::int64_t i, Sum& sum) const {
    add(pivot, load<n>(x + i), sum);
  }

  struct Result {
    A mean, var, inverse_std;
  };
  __device__ Result of_sum(A pivot, const Sum& sum) const {
    const double first = sum.first, shift = first * per_column, rest = sum.second - first * shift;
    const double var = rest < 0 ? 0 : rest * per_column;  // rounding must not leave it below 0; NaN stays
    return {static_cast<A>(pivot + shift), static_cast<A>(var), static_cast<A>(rsqrt(var + eps))};
  }
  // Writes them, and moves the running ones.
  __device__ void keep(std::int64_t c, const Result& batch) const {
    mean[c] = batch.mean;
    inverse_std[c] = batch.inverse_std;
    if (!running_mean) return;
    const double before = running_mean[c], var_before = running_var[c];
    const double unbiased = batch.var * (static_cast<double>(columns) / static_cast<double>(columns - 1));
    running_mean[c] = static_cast<A>((1 - momentum) * before + momentum * batch.mean);
    running_var[c] = static_cast<A>((1 - momentum) * var_before + momentum * unbiased);
  }
  __device__ void finish(std::int64_t c, const Sum& sum) const { keep(c, of_sum(of_row(c), sum)); }
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
  __device__ void put(const Channel<A>& channel, std::int64_t i, Lanes<A, n> values) const {
    for (int k = 0; k < n; ++k) values[k] = Function::value(channel.normal(values[k]));
    store(y + i, values);
  }
  template <int n>
  __device__ void run(const Channel<A>& channel, std::int64_t i) const {
    put(channel, i, load<n>(x + i));
  }
};

// The two above in one, the channel staying on the chip.
template <class Function, class T>
struct ForwardOnChip {
  using A = Accumulator<T>;
  using Element = T;
  using Sum = Moments<A>;
  static constexpr int kLanes = kVectorLanes<T>, kInputs = 1;
  using Vector = Lanes<T, kLanes>;
  Statistics<T> statistics;
  Normalise<Function, T> normalise;

  struct Row {
    A pivot, weight, bias;
  };
  // The pivot is one load to a thread: 8 lanes have the elements, the others the same again.
  __device__ Row of_row(std::int64_t c) const {
    const std::int64_t columns = statistics.columns;
    A pivot = widen(statistics.x[c * columns + threadIdx.x % 8 * columns / 8]);
    for (int distance = 4; distance > 0; distance /= 2)
      pivot += __shfl_xor_sync(0xffffffffu, pivot, distance);
    return {pivot / 8, normalise.channels.weight[c], normalise.channels.bias[c]};
  }
  __device__ void read(std::int64_t i, Vector (&x)[1]) const { x[0] = load_raw<kLanes>(statistics.x + i); }
  __device__ void add(const Row& row, const Vector (&x)[1], Sum& sum) const {
    statistics.add(row.pivot, widen(x[0]), sum);
  }
  struct Result {
    Channel<A> channel;
    typename Statistics<T>::Result batch;
  };
  __device__ Result of_sum(const Row& row, const Sum& sum) const {
    const auto batch = statistics.of_sum(row.pivot, sum);
    return {{batch.mean, row.weight * batch.inverse_std, row.bias}, batch};
  }
  __device__ void keep(std::int64_t c, const Result& result, const Sum&) const {
    statistics.keep(c, result.batch);
  }
  __device__ void put(const Result& result, std::int64_t i, const Vector (&x)[1]) const {
    normalise.put(result.channel, i, widen(x[0]));
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
  // Makes dz of dy.
  template <int n>
  __device__ static void add(const Channel<A>& channel, const Lanes<A, n>& values, Lanes<A, n>& gradients,
                             Sum& sum) {
    for (int k = 0; k < n; ++k) {
      gradients[k] *= Function::slope(channel.normal(values[k]));
      sum[0] += gradients[k];
      sum[1] += gradients[k] * (values[k] - channel.mean);
    }
  }
  template <int n>
  __device__ void add(const Channel<A>& channel, std::int64_t i, Sum& sum) const {
    auto gradients = load<n>(dy + i);
    add(channel, load<n>(x + i), gradients, sum);
  }
  __device__ void keep(std::int64_t c, const Sum& sum) const {
    if (dweight.data) dweight.put(c, sum[1] * channels.inverse_std[c]);
    if (dbias.data) dbias.put(c, sum[0]);
  }
  __device__ void finish(std::int64_t c, const Sum& sum) const {
    sums[2 * c] = sum[0];
    sums[2 * c + 1] = sum[1];
    keep(c, sum);
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
  A per_column;   // 1 / columns
  Target<T> dx;

  __device__ Row of_sums(const Channel<A>& channel, A r, A dz, A dz_deviation) const {
    return {channel, channel.scale * r * r * (dz_deviation * per_column), channel.scale * (dz * per_column)};
  }
  __device__ Row of_row(std::int64_t c) const {
    const Channel<A> channel = channels[c];
    if (!sums) return {channel, 0, 0};
    return of_sums(channel, channels.inverse_std[c], sums[2 * c], sums[2 * c + 1]);
  }
  template <int n>
  __device__ void put(const Row& row, std::int64_t i, const Lanes<A, n>& values, Lanes<A, n> dz) const {
    for (int k = 0; k < n; ++k)
      dz[k] = dz[k] * row.channel.scale - (values[k] - row.channel.mean) * row.slope - row.offset;
    dx.template put<n>(i, dz);
  }
  template <int n>
  __device__ void run(const Row& row, std::int64_t i) const {
    const auto values = load<n>(x + i);
    auto dz = load<n>(dy + i);
    for (int k = 0; k < n; ++k) dz[k] *= Function::slope(row.channel.normal(values[k]));
    put(row, i, values, dz);
  }
};

// The two above in one, x and dz staying on the chip: dz, so that the slope is computed once. It is rounded
// to T for the gradient of x, as it would be between two operators.
template <class Function, class T>
struct BackwardOnChip {
  using A = Accumulator<T>;
  using Element = T;
  using Sum = Sums<A, 2>;
  using Result = typename InputGradient<Function, T>::Row;
  static constexpr int kLanes = kVectorLanes<T>, kInputs = 2;
  using Vector = Lanes<T, kLanes>;
  GradientSums<Function, T> parameters;
  InputGradient<Function, T> input;
  bool training;

  struct Row {
    Channel<A> channel;
    A inverse_std;
  };
  __device__ Row of_row(std::int64_t c) const { return {input.channels[c], input.channels.inverse_std[c]}; }
  __device__ void read(std::int64_t i, Vector (&held)[2]) const {
    held[0] = load_raw<kLanes>(input.x + i);
    held[1] = load_raw<kLanes>(input.dy + i);
  }
  __device__ void add(const Row& row, Vector (&held)[2], Sum& sum) const {
    auto gradients = widen(held[1]);
    parameters.add(row.channel, widen(held[0]), gradients, sum);
    if constexpr (!std::is_same_v<Function, Identity>) held[1] = narrow<T>(gradients);
  }
  __device__ Result of_sum(const Row& row, const Sum& sum) const {
    if (!training) return {row.channel, 0, 0};
    return input.of_sums(row.channel, row.inverse_std, sum[0], sum[1]);
  }
  __device__ void keep(std::int64_t c, const Result&, const Sum& sum) const { parameters.keep(c, sum); }
  __device__ void put(const Result& row, std::int64_t i, const Vector (&held)[2]) const {
    input.put(row, i, widen(held[0]), widen(held[1]));
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

// How channels are shared when they stay on the chip; without blocks where they do not.
template <class T>
RowShare share_channel(const BatchNorm2dGeometry& g, const BatchNorm2dParams& params, int inputs,
                       bool aligned) {
  if (params.kernel == BatchNorm2dKernel::two_sweeps) return {};
  RowShare share;
  if (aligned && g.columns > 0 && g.columns % kVectorLanes<T> == 0)
    share = share_row(g.channels, g.columns / kVectorLanes<T>, inputs, params.blocks_per_channel);
  check(share.blocks > 0 || params.kernel == BatchNorm2dKernel::automatic, "batch_norm2d: ", g.columns,
        " columns of ", dtype_of<T>(), " do not stay on the chip.");
  return share;
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
                                   1 / static_cast<double>(g.columns),
                                   params.eps,
                                   params.momentum,
                                   mean.data<A>(),
                                   inverse_std.data<A>(),
                                   move ? running_mean.data<A>() : nullptr,
                                   move ? running_var.data<A>() : nullptr};
    const Channels<A> channels{statistics.mean, statistics.inverse_std, weight.data<A>(), bias.data<A>()};
    const RowShare share = share_channel<T>(g, params, 1, aligned(statistics.x, y.data<T>()));
    if (share.blocks > 0) {
      visit_activation(params.activation, [&]<class Function>(Function) {
        const ForwardOnChip<Function, T> f{statistics, {channels, statistics.x, y.data<T>()}};
        row_on_chip("batch_norm2d", g.channels, g.columns, share, f);
      });
      return;
    }
    reduce_rows("batch_norm2d.statistics", g.channels, g.columns, statistics, aligned(statistics.x));
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
    const bool parameters = into.weight.tensor.defined() || into.bias.tensor.defined();
    visit_activation(params.activation, [&]<class Function>(Function) {
      GradientSums<Function, T> of_parameters{
          channels, x, gradient, nullptr, optional_target<A>(into.weight), optional_target<A>(into.bias)};
      InputGradient<Function, T> of_input{
          channels, x, gradient, nullptr, 1 / static_cast<A>(g.columns), optional_target<T>(into.x)};
      if (of_input.dx.data && (params.training || parameters)) {
        const RowShare share = share_channel<T>(g, params, 2, aligned(x, gradient, of_input.dx.data));
        if (share.blocks > 0) {
          const BackwardOnChip<Function, T> f{of_parameters, of_input, params.training};
          return row_on_chip("batch_norm2d.backward", g.channels, g.columns, share, f);
        }
      }
      Tensor sums;
      if (params.training || parameters) {
        sums = Tensor::empty({g.channels, 2}, dtype_of<A>(), dy.device());
        of_parameters.sums = sums.data<A>();
        reduce_rows("batch_norm2d.backward_parameters", g.channels, g.columns, of_parameters,
                    aligned(x, gradient));
      }
      if (!of_input.dx.data) return;
      if (params.training) of_input.sums = sums.data<A>();
      rowwise("batch_norm2d.backward_input", g.channels, g.columns, of_input,
              aligned(x, gradient, of_input.dx.data));
    });
  });
}

}  // namespace replk::cuda
