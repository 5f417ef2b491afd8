#include "core/cuda/elementwise.cuh"
#include "core/random.h"
#include "ops/drop_path/drop_path.h"

namespace replk::cuda {
namespace {

// The factor of a plane's sample, from the very number that the CPU draws. A row of the kernels below is one
// plane, and each of its threads draws for itself.
struct Factors {
  std::int64_t samples;
  DropPathParams params;

  __device__ double operator[](std::int64_t plane) const {
    const std::int64_t sample = params.first_sample + divide(plane, samples).remainder;
    const double draw =
        uniform_from(philox(params.seed, params.stream, static_cast<std::uint64_t>(sample))[0]);
    return draw < params.probability ? 0 : 1 / (1 - params.probability);
  }
};

template <class T>
struct ScalePlanes {
  static constexpr int kLanes = kVectorLanes<T>;
  Factors factors;
  const T* from;
  Target<T> to;

  __device__ Accumulator<T> of_row(std::int64_t plane) const {
    return static_cast<Accumulator<T>>(factors[plane]);
  }
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
  Factors factors;
  const T *x, *branch;
  T* y;

  __device__ Accumulator<T> of_row(std::int64_t plane) const {
    return static_cast<Accumulator<T>>(factors[plane]);
  }
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

void drop_path_scale(const DropPathGeometry& g, const DropPathParams& params, const Tensor& from,
                     GradTarget to) {
  visit_floating("drop_path", from.dtype(), [&]<class T>(TypeTag<T>) {
    const ScalePlanes<T> f{{g.samples, params}, from.data<T>(), {to.tensor.data<T>(), to.accumulate}};
    rowwise("drop_path", g.channels * g.samples, g.plane, f, aligned(f.from, f.to.data));
  });
}

void drop_path_add_forward(const DropPathGeometry& g, const DropPathParams& params, const Tensor& x,
                           const Tensor& branch, Tensor& y) {
  visit_floating("drop_path_add", x.dtype(), [&]<class T>(TypeTag<T>) {
    const AddPlanes<T> f{{g.samples, params}, x.data<T>(), branch.data<T>(), y.data<T>()};
    rowwise("drop_path_add", g.channels * g.samples, g.plane, f, aligned(f.x, f.branch, f.y));
  });
}

}  // namespace replk::cuda
