#include "core/cuda/elementwise.cuh"
#include "ops/interpolate_bilinear/interpolate_bilinear.h"

namespace replk::cuda {
namespace {

// One thread per output reads four inputs.
template <class T>
struct Forward {
  static constexpr int kLanes = 1;
  InterpolateAxis rows, columns;
  const T* x;
  T* y;

  template <int>
  __device__ void run(std::int64_t i) const {
    using A = Accumulator<T>;
    const Division in_row = divide(i, columns.out), in_plane = divide(in_row.quotient, rows.out);
    const InterpolateTap r = rows.tap(in_plane.remainder), c = columns.tap(in_row.remainder);
    const T* plane = x + in_plane.quotient * rows.in * columns.in;
    const T *low = plane + r.low * columns.in, *high = plane + r.high * columns.in;
    const A high_row = static_cast<A>(r.high_weight), low_row = static_cast<A>(1 - r.high_weight);
    const A right = static_cast<A>(c.high_weight), left = static_cast<A>(1 - c.high_weight);
    y[i] = narrow<T>(low_row * (left * widen(low[c.low]) + right * widen(low[c.high])) +
                     high_row * (left * widen(high[c.low]) + right * widen(high[c.high])));
  }
};

// One thread per input collects from the outputs that read it, so that no two threads write one place.
template <class T>
struct Backward {
  static constexpr int kLanes = 1;
  InterpolateAxis rows, columns;
  const T* dy;
  Target<T> dx;

  template <int>
  __device__ void run(std::int64_t i) const {
    using A = Accumulator<T>;
    const Division in_row = divide(i, columns.in), in_plane = divide(in_row.quotient, rows.in);
    const auto down = rows.outputs_near(in_plane.remainder), across = columns.outputs_near(in_row.remainder);
    const T* plane = dy + in_plane.quotient * rows.out * columns.out;
    A sum = 0;
    for (std::int64_t ho = down.begin; ho < down.end; ++ho) {
      const double share = rows.weight(ho, in_plane.remainder);
      if (share == 0) continue;
      A row = 0;
      for (std::int64_t wo = across.begin; wo < across.end; ++wo) {
        const double weight = columns.weight(wo, in_row.remainder);
        if (weight != 0) row += static_cast<A>(weight) * widen(plane[ho * columns.out + wo]);
      }
      sum += static_cast<A>(share) * row;
    }
    dx.put(i, sum);
  }
};

}  // namespace

void interpolate_bilinear_forward(const InterpolateGeometry& g, const Tensor& x, Tensor& y) {
  visit_floating("interpolate_bilinear", x.dtype(), [&]<class T>(TypeTag<T>) {
    const Forward<T> f{g.rows, g.columns, x.data<T>(), y.data<T>()};
    elementwise("interpolate_bilinear", y.numel(), f, false);
  });
}

void interpolate_bilinear_backward(const InterpolateGeometry& g, const Tensor& dy, GradTarget dx) {
  visit_floating("interpolate_bilinear", dy.dtype(), [&]<class T>(TypeTag<T>) {
    const Backward<T> f{g.rows, g.columns, dy.data<T>(), {dx.tensor.data<T>(), dx.accumulate}};
    elementwise("interpolate_bilinear.backward", dx.tensor.numel(), f, false);
  });
}

}  // namespace replk::cuda
