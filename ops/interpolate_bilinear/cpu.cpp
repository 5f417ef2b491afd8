#include "core/parallel.h"
#include "ops/interpolate_bilinear/interpolate_bilinear.h"

namespace replk::cpu {
namespace {

constexpr std::int64_t kWorkPerThread = 1 << 14;  // elements

// The taps of one axis as the inner loops read them.
template <class T>
struct Tap {
  std::int64_t low, high;
  T low_weight, high_weight;
};

template <class T>
std::vector<Tap<T>> taps(const InterpolateAxis& axis) {
  std::vector<Tap<T>> result;
  for (std::int64_t o = 0; o < axis.out; ++o) {
    const InterpolateTap tap = axis.tap(o);
    result.push_back(
        {tap.low, tap.high, static_cast<T>(1 - tap.high_weight), static_cast<T>(tap.high_weight)});
  }
  return result;
}

// Calls f(plane) for every plane of the map, several to a thread.
template <class F>
void for_planes(const InterpolateGeometry& g, const F& f) {
  const std::int64_t work = g.rows.in * g.columns.in + g.rows.out * g.columns.out;
  parallel_for(g.planes, kWorkPerThread / work + 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t plane = begin; plane < end; ++plane) f(plane);
  });
}

}  // namespace

void interpolate_bilinear_forward(const InterpolateGeometry& g, const Tensor& x, Tensor& y) {
  visit_real("interpolate_bilinear", x.dtype(), [&]<class T>(TypeTag<T>) {
    const auto rows = taps<T>(g.rows), columns = taps<T>(g.columns);
    const T* from = x.data<T>();
    T* to = y.data<T>();
    for_planes(g, [&](std::int64_t plane) {
      const T* in = from + plane * g.rows.in * g.columns.in;
      T* out = to + plane * g.rows.out * g.columns.out;
      for (const Tap<T>& r : rows) {
        const T *low = in + r.low * g.columns.in, *high = in + r.high * g.columns.in;
        for (const Tap<T>& c : columns)
          *out++ = r.low_weight * (c.low_weight * low[c.low] + c.high_weight * low[c.high]) +
                   r.high_weight * (c.low_weight * high[c.low] + c.high_weight * high[c.high]);
      }
    });
  });
}

void interpolate_bilinear_backward(const InterpolateGeometry& g, const Tensor& dy, GradTarget dx) {
  visit_real("interpolate_bilinear", dy.dtype(), [&]<class T>(TypeTag<T>) {
    const auto rows = taps<T>(g.rows), columns = taps<T>(g.columns);
    const T* from = dy.data<T>();
    T* to = dx.tensor.data<T>();
    for_planes(g, [&](std::int64_t plane) {
      const std::int64_t pixels = g.rows.in * g.columns.in;
      const T* in = from + plane * g.rows.out * g.columns.out;
      T* out = to + plane * pixels;
      if (!dx.accumulate) std::fill_n(out, pixels, T{0});
      for (const Tap<T>& r : rows) {
        T *low = out + r.low * g.columns.in, *high = out + r.high * g.columns.in;
        for (const Tap<T>& c : columns) {
          const T gradient = *in++;
          low[c.low] += r.low_weight * c.low_weight * gradient;
          low[c.high] += r.low_weight * c.high_weight * gradient;
          high[c.low] += r.high_weight * c.low_weight * gradient;
          high[c.high] += r.high_weight * c.high_weight * gradient;
        }
      }
    });
  });
}

}  // namespace replk::cpu
