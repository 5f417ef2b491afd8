#include "core/cuda/elementwise.cuh"
#include "ops/drop_path/drop_path.h"

namespace replk::cuda {
namespace {

// Runs f.run<n>(factor, i) for all elements, n at a time where they belong to one plane. Without `factors`
// all are 1.
template <int lanes, class A, class F>
__global__ void by_plane_kernel(const DropPathGeometry g, const double* factors, const F f) {
  const std::int64_t count = g.channels * g.samples * g.plane;
  const auto of_plane = [&](std::int64_t plane) {
    return factors ? static_cast<A>(factors[divide(plane, g.samples).remainder]) : A(1);
  };
  for (std::int64_t i = thread_index() * lanes; i < count; i += thread_count() * lanes) {
    const auto [plane, pixel] = divide(i, g.plane);
    if (i + lanes <= count && pixel + lanes <= g.plane)
      f.template run<lanes>(of_plane(plane), i);
    else
      for (std::int64_t k = i; k < min(i + lanes, count); ++k)
        f.template run<1>(of_plane(divide(k, g.plane).quotient), k);
  }
}

template <class A, class F>
void by_plane(const char* name, const DropPathGeometry& g, const Tensor& factors, const F& f, bool aligned) {
  const std::int64_t count = g.channels * g.samples * g.plane;
  const double* of_sample = factors.defined() ? factors.data<double>() : nullptr;
  const Grid grid = grid_stride(ceil_div(count, aligned ? F::kLanes : 1));
  if (aligned)
    launch(name, grid, by_plane_kernel<F::kLanes, A, F>, g, of_sample, f);
  else
    launch(name, grid, by_plane_kernel<1, A, F>, g, of_sample, f);
}

template <class T>
struct ScalePlanes {
  static constexpr int kLanes = kVectorLanes<T>;
  const T* from;
  Target<T> to;

  template <int n>
  __device__ void run(Accumulator<T> factor, std::int64_t i) const {
    Lanes<Accumulator<T>, n> values;
    if (factor == 0) {  // not read at all, so a dropped NaN or infinity is dropped
      for (int k = 0; k < n; ++k) values[k] = 0;
    } else {
      values = load<n>(from + i);
      for (int k = 0; k < n; ++k) values[k] *= factor;
    }
    to.template put<n>(i, values);
  }
};

template <class T>
struct AddPlanes {
  static constexpr int kLanes = kVectorLanes<T>;
  const T *x, *branch;
  T* y;

  template <int n>
  __device__ void run(Accumulator<T> factor, std::int64_t i) const {
    auto values = load<n>(x + i);
    if (factor != 0) {
      const auto added = load<n>(branch + i);
      for (int k = 0; k < n; ++k) values[k] += added[k] * factor;
    }
    store(y + i, values);
  }
};

}  // namespace

void drop_path_scale(const DropPathGeometry& g, const Tensor& factors, const Tensor& from, GradTarget to) {
  visit_floating("drop_path", from.dtype(), [&]<class T>(TypeTag<T>) {
    const ScalePlanes<T> f{from.data<T>(), {to.tensor.data<T>(), to.accumulate}};
    by_plane<Accumulator<T>>("drop_path", g, factors, f, aligned(f.from, f.to.data));
  });
}

void drop_path_add_forward(const DropPathGeometry& g, const Tensor& factors, const Tensor& x,
                           const Tensor& branch, Tensor& y) {
  visit_floating("drop_path_add", x.dtype(), [&]<class T>(TypeTag<T>) {
    const AddPlanes<T> f{x.data<T>(), branch.data<T>(), y.data<T>()};
    by_plane<Accumulator<T>>("drop_path_add", g, factors, f, aligned(f.x, f.branch, f.y));
  });
}

}  // namespace replk::cuda
