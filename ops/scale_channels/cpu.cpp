#include <Eigen/Core>

#include "core/parallel.h"
#include "ops/scale_channels/scale_channels.h"

namespace replk::cpu {
namespace {

constexpr std::int64_t kWorkPerThread = 1 << 15;  // elements

template <class T>
using Row = Eigen::Map<Eigen::Array<T, Eigen::Dynamic, 1>>;
template <class T>
using ConstRow = Eigen::Map<const Eigen::Array<T, Eigen::Dynamic, 1>>;

// Calls f(c) for every channel, several channels to a thread.
template <class F>
void for_channels(const ScaleChannelsGeometry& g, const F& f) {
  parallel_for(g.channels, kWorkPerThread / std::max<std::int64_t>(g.columns, 1) + 1,
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t c = begin; c < end; ++c) f(c);
               });
}

}  // namespace

void scale_channels_forward(const ScaleChannelsGeometry& g, const Tensor& x, const Tensor& scale, Tensor& y) {
  visit_real("scale_channels", x.dtype(), [&]<class T>(TypeTag<T>) {
    const T *from = x.data<T>(), *factor = scale.data<T>();
    T* to = y.data<T>();
    for_channels(g, [&](std::int64_t c) {
      Row<T>(to + c * g.columns, g.columns) = ConstRow<T>(from + c * g.columns, g.columns) * factor[c];
    });
  });
}

void scale_channels_backward_input(const ScaleChannelsGeometry& g, const Tensor& scale, const Tensor& dy,
                                   GradTarget dx) {
  visit_real("scale_channels", dy.dtype(), [&]<class T>(TypeTag<T>) {
    const T *from = dy.data<T>(), *factor = scale.data<T>();
    T* to = dx.tensor.data<T>();
    for_channels(g, [&](std::int64_t c) {
      Row<T> out(to + c * g.columns, g.columns);
      const auto product = ConstRow<T>(from + c * g.columns, g.columns) * factor[c];
      if (dx.accumulate)
        out += product;
      else
        out = product;
    });
  });
}

void scale_channels_backward_scale(const ScaleChannelsGeometry& g, const Tensor& x, const Tensor& dy,
                                   GradTarget dscale) {
  visit_real("scale_channels", dy.dtype(), [&]<class T>(TypeTag<T>) {
    const T *values = x.data<T>(), *from = dy.data<T>();
    T* to = dscale.tensor.data<T>();
    for_channels(g, [&](std::int64_t c) {
      const T sum =
          (ConstRow<T>(values + c * g.columns, g.columns) * ConstRow<T>(from + c * g.columns, g.columns))
              .sum();
      to[c] = dscale.accumulate ? to[c] + sum : sum;
    });
  });
}

}  // namespace replk::cpu
