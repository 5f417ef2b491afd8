#include "tests/core/cuda_probe.h"

#include "core/cuda/elementwise.cuh"
#include "core/cuda/reduce.cuh"
#include "core/random.h"

namespace replk::test {
namespace {

__global__ void philox_kernel(std::uint64_t seed, std::uint64_t stream, std::int64_t n, std::int64_t* words) {
  for (std::int64_t i = cuda::thread_index(); i < n; i += cuda::thread_count()) {
    const auto four = philox(seed, stream, static_cast<std::uint64_t>(i));
    for (int k = 0; k < 4; ++k) words[4 * i + k] = four[static_cast<std::size_t>(k)];
  }
}

template <class T>
struct RowSums {
  using Sum = cuda::Sums<double, 2>;
  static constexpr int kLanes = cuda::kVectorLanes<T>;
  const T* x;
  double* sums;

  __device__ cuda::NoConstants of_row(std::int64_t) const { return {}; }
  template <int n>
  __device__ void add(cuda::NoConstants, std::int64_t i, Sum& sum) const {
    const auto values = cuda::load<n>(x + i);
    for (int k = 0; k < n; ++k) {
      const double value = values[k];
      sum[0] += value;
      sum[1] += value * value;
    }
  }
  __device__ void finish(std::int64_t row, const Sum& sum) const {
    sums[2 * row] = sum[0];
    sums[2 * row + 1] = sum[1];
  }
};

template <class T>
struct ScaledRows {
  static constexpr int kLanes = cuda::kVectorLanes<T>;
  const T *x, *factor;
  T* y;

  __device__ cuda::Accumulator<T> of_row(std::int64_t row) const { return cuda::widen(factor[row]); }
  template <int n>
  __device__ void run(cuda::Accumulator<T> scale, std::int64_t i) const {
    auto values = cuda::load<n>(x + i);
    for (int k = 0; k < n; ++k) values[k] *= scale;
    cuda::store(y + i, values);
  }
};

__global__ void fault_kernel(int* nowhere) { *nowhere = 1; }

}  // namespace

Tensor philox_on_cuda(std::uint64_t seed, std::uint64_t stream, std::int64_t n) {
  Tensor words = Tensor::empty({n, 4}, DType::i64, Device::cuda());
  cuda::launch("philox", cuda::grid_stride(n), philox_kernel, seed, stream, n, words.data<std::int64_t>());
  return words;
}

Tensor row_sums_on_cuda(const Tensor& x) {
  Tensor sums = Tensor::empty({x.size(0), 2}, DType::f64, Device::cuda());
  visit_floating("row_sums", x.dtype(), [&]<class T>(TypeTag<T>) {
    const T* from = x.data<T>();
    cuda::reduce_rows("row_sums", x.size(0), x.size(1), RowSums<T>{from, sums.data<double>()},
                      cuda::aligned(from));
  });
  return sums;
}

Tensor scaled_rows_on_cuda(const Tensor& x, const Tensor& factor) {
  Tensor y = Tensor::empty_like(x);
  visit_floating("scaled_rows", x.dtype(), [&]<class T>(TypeTag<T>) {
    const T* from = x.data<T>();
    T* to = y.data<T>();
    cuda::rowwise("scaled_rows", x.size(0), x.size(1), ScaledRows<T>{from, factor.data<T>(), to},
                  cuda::aligned(from, to));
  });
  return y;
}

void fault_on_cuda() {
  cuda::launch("planted fault", {1, 1}, fault_kernel, reinterpret_cast<int*>(std::uintptr_t{4096}));
}

}  // namespace replk::test
