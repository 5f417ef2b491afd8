#include "core/cuda/elementwise.cuh"
#include "core/cuda/reduce.cuh"
#include "ops/avg_pool2d/avg_pool2d.h"

namespace replk::cuda {
namespace {

// One thread per output sums its window, row by row.
template <class T>
struct Forward {
  static constexpr int kLanes = 1;
  PoolAxis rows, columns;
  const T* x;
  T* y;

  template <int>
  __device__ void run(std::int64_t i) const {
    const Division in_row = divide(i, columns.out), in_plane = divide(in_row.quotient, rows.out);
    const PoolWindow down = rows.window(in_plane.remainder), across = columns.window(in_row.remainder);
    const T* plane = x + in_plane.quotient * rows.in * columns.in;
    Accumulator<T> sum = 0;
    for (std::int64_t h = down.begin; h < down.end; ++h) {
      Accumulator<T> row = 0;
      for (std::int64_t w = across.begin; w < across.end; ++w) row += widen(plane[h * columns.in + w]);
      sum += row;
    }
    y[i] = narrow<T>(sum / static_cast<Accumulator<T>>(rows.divisor(down) * columns.divisor(across)));
  }
};

// One thread per input collects from the windows that hold it, so that no two threads write one place.
template <class T>
struct Backward {
  static constexpr int kLanes = 1;
  PoolAxis rows, columns;
  const T* dy;
  Target<T> dx;

  template <int>
  __device__ void run(std::int64_t i) const {
    const Division in_row = divide(i, columns.in), in_plane = divide(in_row.quotient, rows.in);
    const PoolWindow down = rows.outputs_of(in_plane.remainder),
                     across = columns.outputs_of(in_row.remainder);
    const T* plane = dy + in_plane.quotient * rows.out * columns.out;
    Accumulator<T> sum = 0;
    for (std::int64_t ho = down.begin; ho < down.end; ++ho)
      for (std::int64_t wo = across.begin; wo < across.end; ++wo) {
        const std::int64_t count = rows.divisor(rows.window(ho)) * columns.divisor(columns.window(wo));
        sum += widen(plane[ho * columns.out + wo]) / static_cast<Accumulator<T>>(count);
      }
    dx.put(i, sum);
  }
};

bool is_global(const Pool2dGeometry& g) {
  return g.plane_outputs() == 1 && g.rows.divisor(g.rows.window(0)) == g.rows.in &&
         g.columns.divisor(g.columns.window(0)) == g.columns.in;
}

}  // namespace

void avg_pool2d_forward(const Pool2dGeometry& g, const Tensor& x, Tensor& y) {
  visit_floating("avg_pool2d", x.dtype(), [&]<class T>(TypeTag<T>) {
    if (is_global(g)) {  // the mean of each plane, a row of the matrix (planes, pixels)
      const RowSums<T, T> f{x.data<T>(), {y.data<T>(), false}, static_cast<Accumulator<T>>(g.plane_inputs())};
      reduce_rows("avg_pool2d", g.planes, g.plane_inputs(), f, aligned(f.x));
    } else {
      elementwise("avg_pool2d", y.numel(), Forward<T>{g.rows, g.columns, x.data<T>(), y.data<T>()}, false);
    }
  });
}

void avg_pool2d_backward(const Pool2dGeometry& g, const Tensor& dy, GradTarget dx) {
  visit_floating("avg_pool2d", dy.dtype(), [&]<class T>(TypeTag<T>) {
    const Backward<T> f{g.rows, g.columns, dy.data<T>(), {dx.tensor.data<T>(), dx.accumulate}};
    elementwise("avg_pool2d.backward", dx.tensor.numel(), f, false);
  });
}

}  // namespace replk::cuda
