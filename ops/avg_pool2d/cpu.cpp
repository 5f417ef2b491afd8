#include "ops/avg_pool2d/avg_pool2d.h"
#include "ops/primitives/sum.h"

namespace replk::cpu {
namespace {

constexpr std::int64_t kWorkPerThread = 1 << 15;  // elements

// Calls f(plane) for every plane of the map, several to a thread.
template <class F>
void for_planes(const Pool2dGeometry& g, const F& f) {
  parallel_for(g.planes, kWorkPerThread / (g.plane_inputs() + g.plane_outputs()) + 1,
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t plane = begin; plane < end; ++plane) f(plane);
               });
}

// Calls f(output, rows, columns, divisor) for every window of a plane.
template <class F>
void for_windows(const Pool2dGeometry& g, const F& f) {
  for (std::int64_t ho = 0, output = 0; ho < g.rows.out; ++ho) {
    const PoolWindow rows = g.rows.window(ho);
    for (std::int64_t wo = 0; wo < g.columns.out; ++wo, ++output) {
      const PoolWindow columns = g.columns.window(wo);
      f(output, rows, columns, g.rows.divisor(rows) * g.columns.divisor(columns));
    }
  }
}

// Sum of a window of a plane. One pairwise sum where the window's rows follow each other in memory, as in the
// global pool; else row by row, so that no sum is longer than a row or a column.
template <class T>
T window_sum(const T* plane, std::int64_t width, PoolWindow rows, PoolWindow columns) {
  if (columns.size() == width)
    return pairwise_sum<T>(rows.begin * width, rows.end * width, [&](std::int64_t i) { return plane[i]; });
  T sum = 0;
  for (std::int64_t h = rows.begin; h < rows.end; ++h) {
    T row = 0;
    for (std::int64_t w = columns.begin; w < columns.end; ++w) row += plane[h * width + w];
    sum += row;
  }
  return sum;
}

}  // namespace

void avg_pool2d_forward(const Pool2dGeometry& g, const Tensor& x, Tensor& y) {
  visit_real("avg_pool2d", x.dtype(), [&]<class T>(TypeTag<T>) {
    const T* from = x.data<T>();
    T* to = y.data<T>();
    for_planes(g, [&](std::int64_t plane) {
      const T* in = from + plane * g.plane_inputs();
      T* out = to + plane * g.plane_outputs();
      for_windows(g, [&](std::int64_t output, PoolWindow rows, PoolWindow columns, std::int64_t count) {
        out[output] = window_sum(in, g.columns.in, rows, columns) / static_cast<T>(count);
      });
    });
  });
}

void avg_pool2d_backward(const Pool2dGeometry& g, const Tensor& dy, GradTarget dx) {
  visit_real("avg_pool2d", dy.dtype(), [&]<class T>(TypeTag<T>) {
    const T* from = dy.data<T>();
    T* to = dx.tensor.data<T>();
    for_planes(g, [&](std::int64_t plane) {
      const T* in = from + plane * g.plane_outputs();
      T* out = to + plane * g.plane_inputs();
      if (!dx.accumulate) std::fill_n(out, g.plane_inputs(), T{0});
      for_windows(g, [&](std::int64_t output, PoolWindow rows, PoolWindow columns, std::int64_t count) {
        const T share = in[output] / static_cast<T>(count);
        for (std::int64_t h = rows.begin; h < rows.end; ++h)
          for (std::int64_t w = columns.begin; w < columns.end; ++w) out[h * g.columns.in + w] += share;
      });
    });
  });
}

}  // namespace replk::cpu
