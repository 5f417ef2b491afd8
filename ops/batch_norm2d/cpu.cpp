#include <Eigen/Core>
#include <cmath>

#include "core/parallel.h"
#include "ops/batch_norm2d/batch_norm2d.h"

namespace replk::cpu {
namespace {

constexpr std::int64_t kWorkPerThread = 1 << 14;  // elements
constexpr std::int64_t kBlock = 2048;             // elements whose sum one run of f32 additions forms

template <class T>
using Row = Eigen::Map<Eigen::Array<T, Eigen::Dynamic, 1>>;
template <class T>
using ConstRow = Eigen::Map<const Eigen::Array<T, Eigen::Dynamic, 1>>;

template <class F>
void for_channels(const BatchNorm2dGeometry& g, const F& f) {
  parallel_for(g.channels, kWorkPerThread / std::max<std::int64_t>(g.columns, 1) + 1,
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t c = begin; c < end; ++c) f(c);
               });
}

struct Moments {
  double mean = 0, sum_of_squares = 0;  // of the deviations from the mean
};

// Block by block, each in two passes while it is in the cache; blocks are merged by Chan's formula.
template <class T>
Moments moments_of(const T* x, std::int64_t n) {
  Moments total;
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    const std::int64_t count = std::min(kBlock, n - begin);
    const ConstRow<T> block(x + begin, count);
    const T mean = block.sum() / static_cast<T>(count);
    const double squares = (block - mean).square().sum();
    const double delta = static_cast<double>(mean) - total.mean;
    const double before = static_cast<double>(begin), after = static_cast<double>(begin + count);
    total.mean += delta * static_cast<double>(count) / after;
    total.sum_of_squares += squares + delta * delta * before * static_cast<double>(count) / after;
  }
  return total;
}

template <class T>
void normalise(const T* x, std::int64_t n, T mean, T scale, T shift, T* y) {
  Row<T>(y, n) = (ConstRow<T>(x, n) - mean) * scale + shift;
}

}  // namespace

void batch_norm2d_forward_training(const BatchNorm2dGeometry& g, const Tensor& x, const Tensor& weight,
                                   const Tensor& bias, const BatchNorm2dParams& params, Tensor& mean,
                                   Tensor& inverse_std, Tensor& running_mean, Tensor& running_var,
                                   Tensor& y) {
  visit_real("batch_norm2d", x.dtype(), [&]<class T>(TypeTag<T>) {
    const T *from = x.data<T>(), *w = weight.data<T>(), *b = bias.data<T>();
    T *to = y.data<T>(), *means = mean.data<T>(), *inverse = inverse_std.data<T>();
    T *running_means = running_mean.data<T>(), *running_vars = running_var.data<T>();
    const auto n = static_cast<double>(g.columns);
    const auto move = [&](T& running, double batch) {
      running = static_cast<T>((1 - params.momentum) * running + params.momentum * batch);
    };
    for_channels(g, [&](std::int64_t c) {
      const T* row = from + c * g.columns;
      const Moments moments = moments_of(row, g.columns);
      means[c] = static_cast<T>(moments.mean);
      inverse[c] = static_cast<T>(1 / std::sqrt(moments.sum_of_squares / n + params.eps));
      if (params.update_statistics) {
        move(running_means[c], moments.mean);
        move(running_vars[c], moments.sum_of_squares / (n - 1));
      }
      normalise(row, g.columns, means[c], w[c] * inverse[c], b[c], to + c * g.columns);
    });
  });
}

void batch_norm2d_forward_eval(const BatchNorm2dGeometry& g, const Tensor& x, const Tensor& weight,
                               const Tensor& bias, double eps, const Tensor& running_mean,
                               const Tensor& running_var, Tensor& mean, Tensor& inverse_std, Tensor& y) {
  visit_real("batch_norm2d", x.dtype(), [&]<class T>(TypeTag<T>) {
    const T *from = x.data<T>(), *w = weight.data<T>(), *b = bias.data<T>();
    const T *running_means = running_mean.data<T>(), *running_vars = running_var.data<T>();
    T *to = y.data<T>(), *means = mean.data<T>(), *inverse = inverse_std.data<T>();
    for_channels(g, [&](std::int64_t c) {
      means[c] = running_means[c];
      inverse[c] = static_cast<T>(1 / std::sqrt(static_cast<double>(running_vars[c]) + eps));
      normalise(from + c * g.columns, g.columns, means[c], w[c] * inverse[c], b[c], to + c * g.columns);
    });
  });
}

void batch_norm2d_backward(const BatchNorm2dGeometry& g, const Tensor& x, const Tensor& weight,
                           const Tensor& mean, const Tensor& inverse_std, bool training, const Tensor& dy,
                           GradTarget dx, GradTarget dweight, GradTarget dbias) {
  visit_real("batch_norm2d", x.dtype(), [&]<class T>(TypeTag<T>) {
    const T *values = x.data<T>(), *from = dy.data<T>(), *w = weight.data<T>();
    const T *means = mean.data<T>(), *inverse = inverse_std.data<T>();
    const auto put = [](GradTarget& target, std::int64_t c, double value) {
      if (!target.tensor.defined()) return;
      T& place = target.tensor.data<T>()[c];
      place = static_cast<T>(target.accumulate ? place + value : value);
    };
    for_channels(g, [&](std::int64_t c) {
      const T *row = values + c * g.columns, *drow = from + c * g.columns;
      double sum = 0, product = 0;  // of dy, and of dy * normalised x
      for (std::int64_t begin = 0; begin < g.columns; begin += kBlock) {
        const std::int64_t count = std::min(kBlock, g.columns - begin);
        const ConstRow<T> block(row + begin, count), dblock(drow + begin, count);
        sum += dblock.sum();
        product += (dblock * (block - means[c])).sum();
      }
      product *= inverse[c];
      put(dweight, c, product);
      put(dbias, c, sum);
      if (!dx.tensor.defined()) return;
      const auto n = static_cast<double>(g.columns);
      const T scale = w[c] * inverse[c], offset = static_cast<T>(training ? sum / n : 0),
              slope = static_cast<T>(training ? product / n * inverse[c] : 0);
      Row<T> out(dx.tensor.data<T>() + c * g.columns, g.columns);
      const auto gradient =
          (ConstRow<T>(drow, g.columns) - offset - (ConstRow<T>(row, g.columns) - means[c]) * slope) * scale;
      if (dx.accumulate)
        out += gradient;
      else
        out = gradient;
    });
  });
}

}  // namespace replk::cpu
