#include "core/cuda/elementwise.cuh"
#include "core/cuda/reduce.cuh"
#include "ops/scale_channels/scale_channels.h"

namespace replk::cuda {
namespace {

// target[c, ...] = x[c, ...] * scale[c]: forward, and with dy for x the gradient.
template <class T>
struct ScaleRows {
  static constexpr int kLanes = kVectorLanes<T>;
  const T *x, *scale;
  Target<T> target;

  __device__ Accumulator<T> of_row(std::int64_t c) const { return widen(scale[c]); }
  template <int n>
  __device__ void run(Accumulator<T> factor, std::int64_t i) const {
    auto values = load<n>(x + i);
    for (int k = 0; k < n; ++k) values[k] *= factor;
    target.template put<n>(i, values);
  }
};

template <class T>
struct ScaleGradient {
  using Sum = Sums<Accumulator<T>, 1>;
  static constexpr int kLanes = kVectorLanes<T>;
  const T *x, *dy;
  Target<T> dscale;

  __device__ NoConstants of_row(std::int64_t) const { return {}; }
  template <int n>
  __device__ void add(NoConstants, std::int64_t i, Sum& sum) const {
    const auto a = load<n>(x + i), b = load<n>(dy + i);
    for (int k = 0; k < n; ++k) sum[0] += a[k] * b[k];
  }
  __device__ void finish(std::int64_t c, const Sum& sum) const { dscale.put(c, sum[0]); }
};

void scale_rows(const char* name, const ScaleChannelsGeometry& g, const Tensor& x, const Tensor& scale,
                GradTarget target) {
  visit_floating(name, x.dtype(), [&]<class T>(TypeTag<T>) {
    const ScaleRows<T> f{x.data<T>(), scale.data<T>(), {target.tensor.data<T>(), target.accumulate}};
    rowwise(name, g.channels, g.columns, f, aligned(f.x, f.target.data));
  });
}

}  // namespace

void scale_channels_forward(const ScaleChannelsGeometry& g, const Tensor& x, const Tensor& scale, Tensor& y) {
  scale_rows("scale_channels", g, x, scale, {y, false});
}

void scale_channels_backward_input(const ScaleChannelsGeometry& g, const Tensor& scale, const Tensor& dy,
                                   GradTarget dx) {
  scale_rows("scale_channels.backward_input", g, dy, scale, dx);
}

void scale_channels_backward_scale(const ScaleChannelsGeometry& g, const Tensor& x, const Tensor& dy,
                                   GradTarget dscale) {
  visit_floating("scale_channels", dy.dtype(), [&]<class T>(TypeTag<T>) {
    const ScaleGradient<T> f{x.data<T>(), dy.data<T>(), {dscale.tensor.data<T>(), dscale.accumulate}};
    reduce_rows("scale_channels.backward_scale", g.channels, g.columns, f, aligned(f.x, f.dy));
  });
}

}  // namespace replk::cuda
