#include "core/cuda/elementwise.cuh"

#include "core/cuda/reduce.cuh"
#include "ops/primitives/elementwise.h"

namespace replk::cuda {
namespace {

template <class To, class From>
__device__ To convert(From value) {
  if constexpr (std::is_integral_v<From> && std::is_integral_v<To>)
    return static_cast<To>(value);
  else if constexpr (std::is_integral_v<From>)
    return narrow<To>(static_cast<Accumulator<To>>(value));
  else if constexpr (std::is_integral_v<To>)
    return static_cast<To>(widen(value));
  else
    return narrow<To>(static_cast<Accumulator<To>>(widen(value)));
}

template <class From, class To>
struct Cast {
  // Bytes and labels are few: no vectors for them, and less to compile.
  static constexpr int kLanes =
      std::is_integral_v<From> || std::is_integral_v<To> ? 1 : kCommonLanes<From, To>;
  const From* x;
  To* y;

  template <int n>
  __device__ void run(std::int64_t i) const {
    const auto from = load_raw<n>(x + i);
    Lanes<To, n> to;
    for (int k = 0; k < n; ++k) to[k] = convert<To>(from[k]);
    store_raw(y + i, to);
  }
};

template <class T>
struct AddInto {
  static constexpr int kLanes = kVectorLanes<T>;
  const T* x;
  Target<T> target;

  template <int n>
  __device__ void run(std::int64_t i) const {
    target.template put<n>(i, load<n>(x + i));
  }
};

template <class T>
struct CountNotFinite {
  using Sum = Sums<int, 1>;
  static constexpr int kLanes = kVectorLanes<T>;
  const T* x;
  std::int64_t* count;

  __device__ NoConstants of_row(std::int64_t) const { return {}; }
  template <int n>
  __device__ void add(NoConstants, std::int64_t i, Sum& sum) const {
    const auto values = load<n>(x + i);
    for (int k = 0; k < n; ++k) sum[0] |= isfinite(values[k]) ? 0 : 1;  // one is enough, and cannot overflow
  }
  __device__ void finish(std::int64_t, const Sum& sum) const { *count = sum[0]; }
};

}  // namespace

void cast(const Tensor& x, Tensor& y) {
  visit(x.dtype(), [&]<class From>(TypeTag<From>) {
    visit(y.dtype(), [&]<class To>(TypeTag<To>) {
      if constexpr (!std::is_same_v<From, To>) {
        const Cast<From, To> f{x.data<From>(), y.data<To>()};
        elementwise("cast", x.numel(), f, aligned(f.x, f.y));
      }
    });
  });
}

void add_into(const GradTarget& target, const Tensor& x) {
  visit_floating("add_into", x.dtype(), [&]<class T>(TypeTag<T>) {
    Tensor out = target.tensor;
    const AddInto<T> f{x.data<T>(), {out.data<T>(), target.accumulate}};
    elementwise("add_into", x.numel(), f, aligned(f.x, f.target.data));
  });
}

bool all_finite(const Tensor& x) {
  Tensor count = Tensor::empty({}, DType::i64, x.device());
  visit_floating("all_finite", x.dtype(), [&]<class T>(TypeTag<T>) {
    const CountNotFinite<T> f{x.data<T>(), count.data<std::int64_t>()};
    reduce_rows("all_finite", 1, x.numel(), f, aligned(f.x));
  });
  return count.item() == 0;
}

}  // namespace replk::cuda
