#include <cmath>

#include "core/parallel.h"
#include "ops/max_pool2d/max_pool2d.h"

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

// Index within the plane of the largest element of a window.
template <class T>
std::int64_t largest(const T* plane, std::int64_t width, PoolWindow rows, PoolWindow columns) {
  std::int64_t place = rows.begin * width + columns.begin;
  for (std::int64_t h = rows.begin; h < rows.end; ++h)
    for (std::int64_t w = columns.begin; w < columns.end; ++w) {
      const std::int64_t i = h * width + w;
      if (plane[i] > plane[place] || std::isnan(plane[i])) place = i;
    }
  return place;
}

}  // namespace

void max_pool2d_forward(const Pool2dGeometry& g, const Tensor& x, Tensor& y, Tensor& places) {
  visit_real("max_pool2d", x.dtype(), [&]<class T>(TypeTag<T>) {
    const T* from = x.data<T>();
    T* to = y.data<T>();
    std::int64_t* found = places.data<std::int64_t>();
    for_planes(g, [&](std::int64_t plane) {
      const T* in = from + plane * g.plane_inputs();
      std::int64_t output = plane * g.plane_outputs();
      for (std::int64_t ho = 0; ho < g.rows.out; ++ho)
        for (std::int64_t wo = 0; wo < g.columns.out; ++wo, ++output) {
          found[output] = largest(in, g.columns.in, g.rows.window(ho), g.columns.window(wo));
          to[output] = in[found[output]];
        }
    });
  });
}

void max_pool2d_backward(const Pool2dGeometry& g, const Tensor& places, const Tensor& dy, GradTarget dx) {
  visit_real("max_pool2d", dy.dtype(), [&]<class T>(TypeTag<T>) {
    const T* from = dy.data<T>();
    const std::int64_t* place = places.data<std::int64_t>();
    T* to = dx.tensor.data<T>();
    for_planes(g, [&](std::int64_t plane) {
      T* out = to + plane * g.plane_inputs();
      if (!dx.accumulate) std::fill_n(out, g.plane_inputs(), T{0});
      for (std::int64_t i = plane * g.plane_outputs(); i < (plane + 1) * g.plane_outputs(); ++i)
        out[place[i]] += from[i];
    });
  });
}

}  // namespace replk::cpu
