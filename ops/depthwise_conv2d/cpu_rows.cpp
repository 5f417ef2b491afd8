// The rows kernel, for small kernels: neighbouring columns of one plane in the lanes of a vector.
//
// A plane is copied to where zeros surround it, so that no tap asks where the image ends, a few rows before
// they are needed. With stride 2 its even columns come first in a row and the odd ones behind them: what
// neighbouring outputs read through one tap is then adjacent, as with stride 1.
//
//     forward          y[i, j]       = sum over u, v of weight[u, v] x[s i + u - p, s j + v - p]
//     backward weight  dweight[u, v] = sum over i, j of dy[i, j] x[s i + u - p, s j + v - p]
//     backward input   dx[h, w]      = sum over u, v of weight[K-1-u, K-1-v] dy[h + u - q, w + v - q]
//                      with stride 1, q = K - 1 - p
//
// Forward and input gradient compute tiles of rows x vectors of the result in registers, a column of taps at
// a time: a vector of x is read once for all taps of that column it meets. The weight gradient keeps the sums
// of some columns of taps in registers, a lane for every 16th column (f32, AVX-512). No plane is transposed,
// which for few taps takes the direct kernel as long as its products.
//
// An infinity or NaN in the weight (in x, for dweight) can spread to results that the formula keeps it from:
// it meets the zeros around a plane.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/depthwise_conv2d/cpu_rows.cpp"

#include <algorithm>

#include "core/parallel.h"
#include "ops/depthwise_conv2d/depthwise_conv2d.h"
#include "ops/primitives/simd_targets.h"
// Highway compiles the rest of this file once per instruction set.
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/depthwise_conv2d/registers-inl.h"
#include "ops/primitives/simd_row-inl.h"

HWY_BEFORE_NAMESPACE();
namespace replk::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

namespace {

// Vectors of a row that are computed together, and rows: their sums stay in registers beside a column of
// taps.
constexpr bool kManyRegisters = HWY_TARGET <= HWY_AVX3;  // 32, otherwise 16
constexpr int kMostColumns = kManyRegisters ? 4 : 2;
constexpr int kFewColumns = kManyRegisters ? 2 : 1;
constexpr int kTileRows = 4, kTallTileRows = 7;  // 7 where a row has but a few vectors
// Of the weight gradient: rows of dy in registers beside the sums of some columns of taps.
constexpr int kGradientRows = 4;
constexpr int sum_columns(int k) { return k == 3 || kManyRegisters ? 3 : 2; }

constexpr std::int64_t kAhead = 1024;  // elements before they are read the memory is asked for them

// A plane with zeros around it: element (r, c) is pixel (r - before.h, c - before.w), or 0.
template <class T>
class PaddedPlane {
 public:
  using D = hn::ScalableTag<T>;
  static constexpr std::int64_t kLanes = hn::MaxLanes(D());

  // For `outputs` of a kernel of k x k, in whole tiles of `tile` rows and whole vectors.
  PaddedPlane(Extent2d plane, Extent2d before, Extent2d outputs, std::int64_t stride, std::int64_t k,
              std::int64_t tile)
      : plane_(plane),
        before_(before),
        stride_(stride),
        rows_(stride * (round_up(outputs.h, tile) - 1) + k),
        half_(
            std::max(round_up(outputs.w, kLanes) + (k - 1) / stride + 1, (before.w + plane.w) / stride + 1)),
        memory_(Tensor::zeros({rows_ * row_step()}, dtype_of<T>())),
        data_(memory_.template data<T>()) {}

  // Begins with another plane; nothing of it is here yet.
  void start(const T* plane) { from_ = plane, next_ = std::max<std::int64_t>(0, -before_.h); }
  // Sees to it that all rows before `end` are here. A few at a time: what has just come is in the first-level
  // cache, and the memory goes on reading while a tile is computed.
  void load_until(std::int64_t end) {
    const std::int64_t last = std::min(plane_.h, std::min(end, rows_) - before_.h);
    for (; next_ < last; ++next_) {
      const T* const row_of_plane = from_ + next_ * plane_.w;
      for (std::int64_t i = 0; i < plane_.w; i += 64 / static_cast<std::int64_t>(sizeof(T)))
        __builtin_prefetch(row_of_plane + kAhead + i);
      stride_ == 1 ? load_row(row_of_plane, row(next_ + before_.h))
                   : split_row(row_of_plane, row(next_ + before_.h));
    }
  }

  std::int64_t row_step() const { return stride_ * half_; }
  T* row(std::int64_t r) const { return data_ + r * row_step(); }
  // What outputs 0, 1, ... of a row read through tap v, from the start of a row of the plane.
  std::int64_t tap(int v) const { return stride_ == 1 ? v : v % 2 * half_ + v / 2; }

 private:
  static std::int64_t round_up(std::int64_t n, std::int64_t unit) { return (n + unit - 1) / unit * unit; }

  // The last vector of a row overlaps the one before, where there is one.
  void load_row(const T* from, T* to) {
    const D d;
    const std::int64_t first = std::max<std::int64_t>(0, -before_.w), count = plane_.w - first;
    from += first, to += first + before_.w;
    if (count < kLanes) {
      if (count > 0) store_up_to(d, load_up_to(d, from, count), to, count);
      return;
    }
    for (std::int64_t i = 0; i + kLanes < count; i += kLanes) hn::StoreU(hn::LoadU(d, from + i), d, to + i);
    hn::StoreU(hn::LoadU(d, from + count - kLanes), d, to + count - kLanes);
  }

  void split_row(const T* from, T* to) {
    const D d;
    const std::int64_t first = std::max<std::int64_t>(0, -before_.w), count = plane_.w - first;
    from += first;
    const std::int64_t column = first + before_.w;
    T *even = to + column % 2 * half_ + column / 2, *odd = to + (column + 1) % 2 * half_ + (column + 1) / 2;
    const auto split = [&](std::int64_t i) HWY_ATTR {
      const hn::Vec<D> a = hn::LoadU(d, from + i), b = hn::LoadU(d, from + i + kLanes);
      hn::StoreU(hn::ConcatEven(d, b, a), d, even + i / 2);
      hn::StoreU(hn::ConcatOdd(d, b, a), d, odd + i / 2);
    };
    std::int64_t i = 0;
    for (; i + 2 * kLanes <= count; i += 2 * kLanes) split(i);
    const std::int64_t rest = count - i;
    if (rest <= 0) return;
    if (i > 0 && count % 2 == 0) return split(count - 2 * kLanes);
    const hn::Vec<D> a = load_up_to(d, from + i, std::min(kLanes, rest));
    const hn::Vec<D> b = rest > kLanes ? load_up_to(d, from + i + kLanes, rest - kLanes) : hn::Zero(d);
    store_up_to(d, hn::ConcatEven(d, b, a), even + i / 2, (rest + 1) / 2);
    store_up_to(d, hn::ConcatOdd(d, b, a), odd + i / 2, rest / 2);
  }

  Extent2d plane_, before_;
  std::int64_t stride_, rows_, half_;
  const T* from_ = nullptr;
  std::int64_t next_ = 0;
  Tensor memory_;
  T* data_;
};

// sum[i][c] += the products of outputs (i, c * kLanes ...) with a K x K kernel; `in` is where output 0 begins
// to read.
template <int K, int kStride, int kRows, int kColumns, class D, class T = hn::TFromD<D>>
HWY_INLINE void correlate(D d, const PaddedPlane<T>& plane, const T* HWY_RESTRICT in,
                          const T* HWY_RESTRICT weight, hn::Vec<D> (&sum)[kRows][kColumns]) {
  constexpr std::int64_t kLanes = hn::MaxLanes(D());
  const std::int64_t step = plane.row_step();
#pragma GCC unroll 1
  for (int v = 0; v < K; ++v) {
    const T* HWY_RESTRICT column = in + plane.tap(v);
    hn::Vec<D> taps[K];
#pragma GCC unroll 5
    for (int u = 0; u < K; ++u) taps[u] = in_register(hn::Set(d, weight[u * K + v]));
#pragma GCC unroll 17
    for (int r = 0; r < kStride * (kRows - 1) + K; ++r) {
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) {
        const hn::Vec<D> x = in_register(hn::LoadU(d, column + r * step + c * kLanes));
#pragma GCC unroll 7
        for (int i = 0; i < kRows; ++i) {
          const int u = r - kStride * i;
          if (u >= 0 && u < K) sum[i][c] = hn::MulAdd(taps[u], x, sum[i][c]);
        }
      }
    }
  }
}

// Rows [i, i + kRows) and columns [j, j + kColumns vectors) of a plane of results.
template <int K, int kStride, int kRows, int kColumns, class D, class T = hn::TFromD<D>>
HWY_NOINLINE void correlate_tile(D d, const PaddedPlane<T>& plane, const T* weight, T bias, Extent2d size,
                                 std::int64_t i, std::int64_t j, bool accumulate, T* out) {
  constexpr std::int64_t kLanes = hn::MaxLanes(D());
  hn::Vec<D> sum[kRows][kColumns];
  for (auto& row : sum)
    for (auto& v : row) v = hn::Set(d, bias);
  correlate<K, kStride>(d, plane, plane.row(kStride * i) + j, weight, sum);
#pragma GCC unroll 7
  for (int r = 0; r < kRows; ++r) {
    if (i + r >= size.h) break;
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) {
      T* to = out + (i + r) * size.w + j + c * kLanes;
      const std::int64_t count = std::min(kLanes, size.w - j - c * kLanes);
      store_up_to(d, accumulate ? hn::Add(sum[r][c], load_up_to(d, to, count)) : sum[r][c], to, count);
    }
  }
}

template <int K, int kStride, int kRows, class D, class T = hn::TFromD<D>>
void correlate_plane(D d, PaddedPlane<T>& plane, const T* weight, T bias, Extent2d size, bool accumulate,
                     T* out) {
  constexpr std::int64_t kLanes = hn::MaxLanes(D());
  constexpr int kMost = kRows == kTallTileRows ? kFewColumns : kMostColumns;
  plane.load_until(kStride * (kRows - 1) + K);
  for (std::int64_t i = 0; i < size.h; i += kRows) {
    // Those of the next tile, so that no load waits for a store that is under way.
    plane.load_until(kStride * (i + 2 * kRows - 1) + K);
    for (std::int64_t j = 0; j < size.w;) {
      const std::int64_t columns = std::min<std::int64_t>((size.w - j + kLanes - 1) / kLanes, kMost);
      const auto run = [&]<int kColumns>(std::integral_constant<int, kColumns>) {
        if constexpr (kColumns <= kMost)
          correlate_tile<K, kStride, kRows, kColumns>(d, plane, weight, bias, size, i, j, accumulate, out);
      };
      switch (columns) {
        case 1:
          run(std::integral_constant<int, 1>());
          break;
        case 2:
          run(std::integral_constant<int, 2>());
          break;
        case 3:
          run(std::integral_constant<int, 3>());
          break;
        default:
          run(std::integral_constant<int, 4>());
      }
      j += columns * kLanes;
    }
  }
}

// sums[u][v], a vector each, += the products of rows [i, i + kGradientRows) of dy with what they met through
// the taps (u, v), for kTaps columns v from `first` on.
template <int K, int kStride, int kTaps, class D, class T = hn::TFromD<D>>
HWY_NOINLINE void add_products(D d, const PaddedPlane<T>& x, const T* dy, Extent2d size, std::int64_t i,
                               int first, T* sums) {
  constexpr std::int64_t kLanes = hn::MaxLanes(D());
  hn::Vec<D> sum[K][kTaps];
#pragma GCC unroll 5
  for (int u = 0; u < K; ++u)
#pragma GCC unroll 3
    for (int v = 0; v < kTaps; ++v) sum[u][v] = hn::Load(d, sums + (u * K + first + v) * kLanes);
  std::int64_t taps[kTaps];
  for (int v = 0; v < kTaps; ++v) taps[v] = x.tap(first + v);
  for (std::int64_t j = 0; j < size.w; j += kLanes) {
    hn::Vec<D> gradient[kGradientRows];
#pragma GCC unroll 4
    for (int r = 0; r < kGradientRows; ++r)
      gradient[r] = i + r < size.h ? load_up_to(d, dy + (i + r) * size.w + j, std::min(kLanes, size.w - j))
                                   : hn::Zero(d);
    const T* HWY_RESTRICT from = x.row(kStride * i) + j;
#pragma GCC unroll 16
    for (int r = 0; r < kStride * (kGradientRows - 1) + K; ++r) {
#pragma GCC unroll 3
      for (int v = 0; v < kTaps; ++v) {
        const hn::Vec<D> pixels = in_register(hn::LoadU(d, from + r * x.row_step() + taps[v]));
#pragma GCC unroll 4
        for (int k = 0; k < kGradientRows; ++k) {
          const int u = r - kStride * k;
          if (u >= 0 && u < K) sum[u][v] = hn::MulAdd(gradient[k], pixels, sum[u][v]);
        }
      }
    }
  }
#pragma GCC unroll 5
  for (int u = 0; u < K; ++u)
#pragma GCC unroll 3
    for (int v = 0; v < kTaps; ++v) hn::Store(sum[u][v], d, sums + (u * K + first + v) * kLanes);
}

template <int K, int kStride, class D, class T = hn::TFromD<D>>
void add_products_of_plane(D d, PaddedPlane<T>& x, const T* dy, Extent2d size, T* sums) {
  constexpr int kTaps = sum_columns(K);
  x.load_until(kStride * (kGradientRows - 1) + K);
  for (std::int64_t i = 0; i < size.h; i += kGradientRows) {
    x.load_until(kStride * (i + 2 * kGradientRows - 1) + K);
    int v = 0;
    for (; v + kTaps <= K; v += kTaps) add_products<K, kStride, kTaps>(d, x, dy, size, i, v, sums);
    if constexpr (K % kTaps != 0) add_products<K, kStride, K % kTaps>(d, x, dy, size, i, v, sums);
  }
}

// Forward, and the input gradient with stride 1.
template <int K, int kStride, class T>
void convolve(const DepthwiseConv2dGeometry& g, bool turned, const T* from, const T* weight, const T* bias,
              T* to, bool accumulate) {
  const Extent2d in = turned ? g.output : g.input, out = turned ? g.input : g.output;
  const Extent2d before = turned ? Extent2d{K - 1 - g.padding.h, K - 1 - g.padding.w} : g.padding;
  constexpr std::int64_t kTaps = K * K, kLanes = PaddedPlane<T>::kLanes;
  const bool tall = out.w <= kFewColumns * kLanes;
  // Starting a thread's share costs microseconds.
  const std::int64_t work = out.area() * kTaps / kLanes + 1;
  parallel_for(g.channels * g.batch, (1 << 16) / work + 1, [&](std::int64_t begin, std::int64_t end) {
    const hn::ScalableTag<T> d;
    PaddedPlane<T> plane(in, before, out, kStride, K, tall ? kTallTileRows : kTileRows);
    T taps[kTaps];
    for (std::int64_t p = begin; p < end; ++p) {
      const std::int64_t channel = p / g.batch;
      for (std::int64_t t = 0; t < kTaps; ++t)
        taps[t] = weight[channel * kTaps + (turned ? kTaps - 1 - t : t)];
      const T start = bias ? bias[channel] : T(0);
      plane.start(from + p * in.area());
      if (tall)
        correlate_plane<K, kStride, kTallTileRows>(d, plane, taps, start, out, accumulate,
                                                   to + p * out.area());
      else
        correlate_plane<K, kStride, kTileRows>(d, plane, taps, start, out, accumulate, to + p * out.area());
    }
  });
}

// Where a few channels would leave threads without work the samples are cut into parts, the same for any
// number of threads, whose sums are added in order.
template <int K, int kStride, class T>
void weight_gradient(const DepthwiseConv2dGeometry& g, const T* x, const T* dy, T* dweight, bool accumulate) {
  using D = hn::ScalableTag<T>;
  constexpr std::int64_t kLanes = hn::MaxLanes(D()), kTaps = K * K, kTasks = 64;
  const D d;
  const std::int64_t parts = std::clamp<std::int64_t>(kTasks / g.channels, 1, g.batch);
  Tensor memory = Tensor::zeros({g.channels * parts * kTaps * kLanes}, dtype_of<T>());
  T* const all_sums = memory.template data<T>();
  const std::int64_t work = (g.output.area() * kTaps / kLanes + 1) * (g.batch / parts);
  parallel_for(g.channels * parts, (1 << 16) / work + 1, [&](std::int64_t begin, std::int64_t end) {
    PaddedPlane<T> plane(g.input, g.padding, g.output, kStride, K, kGradientRows);
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t channel = task / parts, part = task % parts;
      for (std::int64_t n = g.batch * part / parts; n < g.batch * (part + 1) / parts; ++n) {
        plane.start(x + (channel * g.batch + n) * g.input.area());
        add_products_of_plane<K, kStride>(d, plane, dy + (channel * g.batch + n) * g.output.area(), g.output,
                                          all_sums + task * kTaps * kLanes);
      }
    }
  });
  for (std::int64_t i = 0; i < g.channels * kTaps; ++i) {
    const std::int64_t channel = i / kTaps, tap = i % kTaps;
    T total = 0;
    for (std::int64_t part = 0; part < parts; ++part)
      total += hn::GetLane(
          hn::SumOfLanes(d, hn::Load(d, all_sums + ((channel * parts + part) * kTaps + tap) * kLanes)));
    dweight[i] = accumulate ? dweight[i] + total : total;
  }
}

// f<T, K, stride>()
template <class F>
void with_kernel(const DepthwiseConv2dGeometry& g, DType dtype, const F& f) {
  visit_real("depthwise_conv2d", dtype, [&]<class T>(TypeTag<T>) {
    const auto strided = [&]<int K>() {
      g.stride.h == 1 ? f.template operator()<T, K, 1>() : f.template operator()<T, K, 2>();
    };
    g.kernel.h == 3 ? strided.template operator()<3>() : strided.template operator()<5>();
  });
}

void rows_forward(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& weight, const Tensor& bias,
                  Tensor& y) {
  with_kernel(g, x.dtype(), [&]<class T, int K, int kStride>() {
    convolve<K, kStride, T>(g, false, x.data<T>(), weight.data<T>(),
                            bias.defined() ? bias.data<T>() : nullptr, y.data<T>(), false);
  });
}

void rows_backward_input(const DepthwiseConv2dGeometry& g, const Tensor& weight, const Tensor& dy,
                         const GradTarget& dx) {
  check(g.stride == Extent2d(1), "depthwise_conv2d: the rows kernel has no input gradient for stride ",
        g.stride, ".");
  Tensor to = dx.tensor;
  with_kernel(g, dy.dtype(), [&]<class T, int K, int kStride>() {
    if constexpr (kStride == 1)
      convolve<K, 1, T>(g, true, dy.data<T>(), weight.data<T>(), nullptr, to.data<T>(), dx.accumulate);
  });
}

void rows_backward_weight(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& dy,
                          const GradTarget& dweight) {
  Tensor to = dweight.tensor;
  with_kernel(g, dy.dtype(), [&]<class T, int K, int kStride>() {
    weight_gradient<K, kStride, T>(g, x.data<T>(), dy.data<T>(), to.data<T>(), dweight.accumulate);
  });
}

}  // namespace
}  // namespace replk::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace replk::cpu {
HWY_EXPORT(rows_forward);
HWY_EXPORT(rows_backward_input);
HWY_EXPORT(rows_backward_weight);

bool depthwise_rows_applies(const DepthwiseConv2dGeometry& g) {
  const std::int64_t k = g.kernel.h, s = g.stride.h;
  return g.kernel == Extent2d(k) && (k == 3 || k == 5) && g.stride == Extent2d(s) && s <= 2 &&
         g.dilation == Extent2d(1);
}

void depthwise_conv2d_forward_rows(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& weight,
                                   const Tensor& bias, Tensor& y) {
  HWY_DYNAMIC_DISPATCH(rows_forward)(g, x, weight, bias, y);
}
void depthwise_conv2d_backward_input_rows(const DepthwiseConv2dGeometry& g, const Tensor& weight,
                                          const Tensor& dy, GradTarget dx) {
  HWY_DYNAMIC_DISPATCH(rows_backward_input)(g, weight, dy, dx);
}
void depthwise_conv2d_backward_weight_rows(const DepthwiseConv2dGeometry& g, const Tensor& x,
                                           const Tensor& dy, GradTarget dweight) {
  HWY_DYNAMIC_DISPATCH(rows_backward_weight)(g, x, dy, dweight);
}

}  // namespace replk::cpu
#endif  // HWY_ONCE
