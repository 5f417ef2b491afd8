#include "core/cuda/elementwise.cuh"
#include "ops/max_pool2d/max_pool2d.h"

namespace replk::cuda {
namespace {

// One thread per output looks through its window in the order of rows.
template <class T>
struct Forward {
  static constexpr int kLanes = 1;
  PoolAxis rows, columns;
  const T* x;
  T* y;
  std::int64_t* places;

  template <int>
  __device__ void run(std::int64_t i) const {
    const Division in_row = divide(i, columns.out), in_plane = divide(in_row.quotient, rows.out);
    const PoolWindow down = rows.window(in_plane.remainder), across = columns.window(in_row.remainder);
    const T* plane = x + in_plane.quotient * rows.in * columns.in;
    std::int64_t place = down.begin * columns.in + across.begin;
    Accumulator<T> largest = widen(plane[place]);
    for (std::int64_t h = down.begin; h < down.end; ++h)
      for (std::int64_t w = across.begin; w < across.end; ++w) {
        const Accumulator<T> value = widen(plane[h * columns.in + w]);
        if (value > largest || isnan(value)) largest = value, place = h * columns.in + w;
      }
    y[i] = plane[place];
    places[i] = place;
  }
};

// One thread per input looks which of the windows that hold it chose it.
template <class T>
struct Backward {
  static constexpr int kLanes = 1;
  PoolAxis rows, columns;
  const std::int64_t* places;
  const T* dy;
  Target<T> dx;

  template <int>
  __device__ void run(std::int64_t i) const {
    const Division in_row = divide(i, columns.in), in_plane = divide(in_row.quotient, rows.in);
    const std::int64_t place = in_plane.remainder * columns.in + in_row.remainder;
    const PoolWindow down = rows.outputs_of(in_plane.remainder),
                     across = columns.outputs_of(in_row.remainder);
    const std::int64_t plane = in_plane.quotient * rows.out * columns.out;
    Accumulator<T> sum = 0;
    for (std::int64_t ho = down.begin; ho < down.end; ++ho)
      for (std::int64_t wo = across.begin; wo < across.end; ++wo) {
        const std::int64_t output = plane + ho * columns.out + wo;
        if (places[output] == place) sum += widen(dy[output]);
      }
    dx.put(i, sum);
  }
};

}  // namespace

void max_pool2d_forward(const Pool2dGeometry& g, const Tensor& x, Tensor& y, Tensor& places) {
  visit_floating("max_pool2d", x.dtype(), [&]<class T>(TypeTag<T>) {
    const Forward<T> f{g.rows, g.columns, x.data<T>(), y.data<T>(), places.data<std::int64_t>()};
    elementwise("max_pool2d", y.numel(), f, false);
  });
}

void max_pool2d_backward(const Pool2dGeometry& g, const Tensor& places, const Tensor& dy, GradTarget dx) {
  visit_floating("max_pool2d", dy.dtype(), [&]<class T>(TypeTag<T>) {
    const Backward<T> f{
        g.rows, g.columns, places.data<std::int64_t>(), dy.data<T>(), {dx.tensor.data<T>(), dx.accumulate}};
    elementwise("max_pool2d.backward", dx.tensor.numel(), f, false);
  });
}

}  // namespace replk::cuda
