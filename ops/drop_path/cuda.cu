#include <algorithm>

#include "core/cuda/elementwise.cuh"
#include "core/random.h"
#include "ops/drop_path/drop_path.h"

namespace replk::cuda {
namespace {

constexpr std::int64_t kMostInShared = 4096;  // factors that a block computes beforehand
constexpr std::int64_t kMostBlocks = 1024;    // each of which computes them

// Every block computes the factors of all samples first (a number drawn costs more than moving an element),
// then takes vectors of elements in steps. Nothing is drawn where nothing is dropped.
template <class A>
class Factors {
 public:
  __device__ Factors(const DropPathGeometry& g, const DropPathParams& params) : g_(g), params_(params) {
    if (params.probability > 0 && g.samples <= kMostInShared) {
      shared_ = reinterpret_cast<A*>(dynamic_shared());
      for (std::int64_t n = threadIdx.x; n < g.samples; n += blockDim.x) shared_[n] = draw(n);
      __syncthreads();
    }
  }
  /// Of the sample to which a plane belongs.
  __device__ A of_plane(std::int64_t plane) const {
    if (params_.probability == 0) return 1;
    const std::int64_t n = divide(plane, g_.samples).remainder;
    return shared_ ? shared_[n] : draw(n);
  }

 private:
  // From the very number that the CPU draws.
  __device__ A draw(std::int64_t n) const {
    const auto index = static_cast<std::uint64_t>(params_.first_sample + n);
    const double number = uniform_from(philox(params_.seed, params_.stream, index)[0]);
    return static_cast<A>(number < params_.probability ? 0 : 1 / (1 - params_.probability));
  }

  const DropPathGeometry& g_;
  const DropPathParams& params_;
  A* shared_ = nullptr;
};

// Runs f.run<n>(factor, i) for all elements, n at a time where they belong to one plane.
template <int lanes, class A, class F>
__global__ void by_plane_kernel(const DropPathGeometry g, const DropPathParams params, const F f) {
  const Factors<A> factors(g, params);
  const std::int64_t count = g.channels * g.samples * g.plane;
  for (std::int64_t i = thread_index() * lanes; i < count; i += thread_count() * lanes) {
    const auto [plane, pixel] = divide(i, g.plane);
    if (i + lanes <= count && pixel + lanes <= g.plane)
      f.template run<lanes>(factors.of_plane(plane), i);
    else
      for (std::int64_t k = i; k < min(i + lanes, count); ++k)
        f.template run<1>(factors.of_plane(divide(k, g.plane).quotient), k);
  }
}

template <class A, class F>
void by_plane(const char* name, const DropPathGeometry& g, const DropPathParams& params, const F& f,
              bool aligned) {
  const std::int64_t count = g.channels * g.samples * g.plane;
  const bool shared = params.probability > 0 && g.samples <= kMostInShared;
  Grid grid = grid_stride(ceil_div(count, aligned ? F::kLanes : 1));
  grid.blocks = std::min(grid.blocks, kMostBlocks);
  grid.shared_bytes = shared ? static_cast<std::size_t>(g.samples) * sizeof(A) : 0;
  if (aligned)
    launch(name, grid, by_plane_kernel<F::kLanes, A, F>, g, params, f);
  else
    launch(name, grid, by_plane_kernel<1, A, F>, g, params, f);
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

void drop_path_scale(const DropPathGeometry& g, const DropPathParams& params, const Tensor& from,
                     GradTarget to) {
  visit_floating("drop_path", from.dtype(), [&]<class T>(TypeTag<T>) {
    const ScalePlanes<T> f{from.data<T>(), {to.tensor.data<T>(), to.accumulate}};
    by_plane<Accumulator<T>>("drop_path", g, params, f, aligned(f.from, f.to.data));
  });
}

void drop_path_add_forward(const DropPathGeometry& g, const DropPathParams& params, const Tensor& x,
                           const Tensor& branch, Tensor& y) {
  visit_floating("drop_path_add", x.dtype(), [&]<class T>(TypeTag<T>) {
    const AddPlanes<T> f{x.data<T>(), branch.data<T>(), y.data<T>()};
    by_plane<Accumulator<T>>("drop_path_add", g, params, f, aligned(f.x, f.branch, f.y));
  });
}

}  // namespace replk::cuda
