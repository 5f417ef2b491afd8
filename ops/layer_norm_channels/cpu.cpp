#include <Eigen/Core>

#include "core/parallel.h"
#include "ops/layer_norm_channels/layer_norm_channels.h"

namespace replk::cpu {
namespace {

constexpr std::int64_t kColumns = 128;            // normalised together: one stretch of each row
constexpr std::int64_t kWorkPerThread = 1 << 14;  // elements

// Stretches of a row, and per-column sums.
template <class T>
using Columns = Eigen::Array<T, Eigen::Dynamic, 1, 0, kColumns, 1>;  // on the stack
template <class T>
using Row = Eigen::Map<Eigen::Array<T, Eigen::Dynamic, 1>>;
template <class T>
using ConstRow = Eigen::Map<const Eigen::Array<T, Eigen::Dynamic, 1>>;

// Calls f(first column, count) for blocks of columns, several to a thread.
template <class F>
void for_column_blocks(const LayerNormChannelsGeometry& g, const F& f) {
  const std::int64_t blocks = (g.columns + kColumns - 1) / kColumns;
  parallel_for(blocks, kWorkPerThread / (kColumns * g.channels) + 1,
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t block = begin; block < end; ++block)
                   f(block * kColumns, std::min(kColumns, g.columns - block * kColumns));
               });
}

}  // namespace

void layer_norm_channels_forward(const LayerNormChannelsGeometry& g, const Tensor& x, const Tensor& weight,
                                 const Tensor& bias, double eps, Tensor& mean, Tensor& inverse_std,
                                 Tensor& y) {
  visit_real("layer_norm_channels", x.dtype(), [&]<class T>(TypeTag<T>) {
    const T *from = x.data<T>(), *w = weight.data<T>(), *b = bias.data<T>();
    T *to = y.data<T>(), *means = mean.data<T>(), *inverses = inverse_std.data<T>();
    const T share = T{1} / static_cast<T>(g.channels);
    for_column_blocks(g, [&](std::int64_t column, std::int64_t count) {
      const auto row = [&](std::int64_t c) { return ConstRow<T>(from + c * g.columns + column, count); };
      Columns<T> sum = Columns<T>::Zero(count);
      for (std::int64_t c = 0; c < g.channels; ++c) sum += row(c);
      const Columns<T> center = sum * share;
      Columns<T> squares = Columns<T>::Zero(count);
      for (std::int64_t c = 0; c < g.channels; ++c) squares += (row(c) - center).square();
      const Columns<T> inverse = (squares * share + static_cast<T>(eps)).sqrt().inverse();
      for (std::int64_t c = 0; c < g.channels; ++c)
        Row<T>(to + c * g.columns + column, count) = (row(c) - center) * inverse * w[c] + b[c];
      Row<T>(means + column, count) = center;
      Row<T>(inverses + column, count) = inverse;
    });
  });
}

void layer_norm_channels_backward_input(const LayerNormChannelsGeometry& g, const Tensor& x,
                                        const Tensor& weight, const Tensor& mean, const Tensor& inverse_std,
                                        const Tensor& dy, GradTarget dx) {
  visit_real("layer_norm_channels", dy.dtype(), [&]<class T>(TypeTag<T>) {
    const T *values = x.data<T>(), *gradients = dy.data<T>(), *w = weight.data<T>();
    const T *means = mean.data<T>(), *inverses = inverse_std.data<T>();
    T* to = dx.tensor.data<T>();
    const T share = T{1} / static_cast<T>(g.channels);
    for_column_blocks(g, [&](std::int64_t column, std::int64_t count) {
      const ConstRow<T> center(means + column, count), inverse(inverses + column, count);
      const auto row = [&](const T* base, std::int64_t c) {
        return ConstRow<T>(base + c * g.columns + column, count);
      };
      Columns<T> sum = Columns<T>::Zero(count), product = Columns<T>::Zero(count);
      for (std::int64_t c = 0; c < g.channels; ++c) {
        sum += row(gradients, c) * w[c];
        product += row(gradients, c) * w[c] * (row(values, c) - center);
      }
      sum *= share;
      product *= share * inverse.square();
      for (std::int64_t c = 0; c < g.channels; ++c) {
        Row<T> out(to + c * g.columns + column, count);
        const auto gradient =
            (row(gradients, c) * w[c] - sum - (row(values, c) - center) * product) * inverse;
        if (dx.accumulate)
          out += gradient;
        else
          out = gradient;
      }
    });
  });
}

void layer_norm_channels_backward_parameters(const LayerNormChannelsGeometry& g, const Tensor& x,
                                             const Tensor& mean, const Tensor& inverse_std, const Tensor& dy,
                                             GradTarget dweight, GradTarget dbias) {
  visit_real("layer_norm_channels", dy.dtype(), [&]<class T>(TypeTag<T>) {
    const T *values = x.data<T>(), *gradients = dy.data<T>();
    const T *means = mean.data<T>(), *inverses = inverse_std.data<T>();
    const auto put = [](GradTarget& target, std::int64_t c, double value) {
      if (!target.tensor.defined()) return;
      T& place = target.tensor.data<T>()[c];
      place = static_cast<T>(target.accumulate ? static_cast<double>(place) + value : value);
    };
    parallel_for(g.channels, kWorkPerThread / std::max<std::int64_t>(g.columns, 1) + 1,
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t c = begin; c < end; ++c) {
                     const T *row = values + c * g.columns, *drow = gradients + c * g.columns;
                     double sum = 0, product = 0;  // of dy, and of dy times normalised x
                     for (std::int64_t i = 0; i < g.columns; i += kColumns) {
                       const std::int64_t count = std::min(kColumns, g.columns - i);
                       const ConstRow<T> d(drow + i, count);
                       sum += d.sum();
                       product += (d * (ConstRow<T>(row + i, count) - ConstRow<T>(means + i, count)) *
                                   ConstRow<T>(inverses + i, count))
                                      .sum();
                     }
                     put(dweight, c, product);
                     put(dbias, c, sum);
                   }
                 });
  });
}

}  // namespace replk::cpu
