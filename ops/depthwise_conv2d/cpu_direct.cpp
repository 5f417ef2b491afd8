// The direct kernel: one plane (a sample of a channel) per vector lane.
//
// Planes lie side by side in (C, N, H, W), so 16 of them (f32, AVX-512) are transposed into vectors that hold
// the same pixel of 16 planes. From there on the plane loops need no shuffle and no edge case for any kernel
// or map size, and all three passes are one correlation of small images whose pixels are vectors:
//
//     out[i, j] = sum over u, v of A[u, v] * B[i + u - p, j + v - p]        (B = 0 outside)
//
//     forward          A = weight            B = x     p = padding           out = y
//     backward input   A = weight, rotated   B = dy    p = kernel-1-padding  out = dx
//     backward weight  A = dy                B = x     p = padding           out = dweight, then summed over
//     lanes
//
// Rows of B that lie outside are skipped, columns too, up to a tile. In the inner loop a tile of `kTile`
// outputs of a row stays in registers; of A, 4 taps at a time are loaded, and every pixel of B once for all
// of them: (kTile + 7) loads for 4 kTile multiply-adds. Strides and dilations other than 1 take a list of
// index pairs instead of the tile.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/depthwise_conv2d/cpu_direct.cpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "core/parallel.h"
#include "ops/depthwise_conv2d/depthwise_conv2d.h"
#include "ops/primitives/simd_targets.h"
// Highway compiles the rest of this file once per instruction set.
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/depthwise_conv2d/plane_lanes-inl.h"

#ifndef REPLK_DEPTHWISE_DIRECT_ONCE
#define REPLK_DEPTHWISE_DIRECT_ONCE
namespace replk::cpu {

// A padding that lets the tile path read past both ends of a row: the widest tile, less one.
inline constexpr std::int64_t kMargin = 13;

// Which of A and B meet in one output row (or column): pairs (index in A, index in B).
using IndexPairs = std::vector<std::vector<std::pair<std::int64_t, std::int64_t>>>;

// One of the three passes as a correlation.
struct Correlation {
  Extent2d a, b, out;  // sizes of the three images
  Extent2d padding;    // only without pairs
  bool tiled;          // stride 1 and dilation 1
  IndexPairs rows, columns;

  std::int64_t b_stride() const { return b.w + 2 * kMargin; }  // vectors from one row of B to the next
  std::int64_t out_stride() const { return out.w + kMargin; }  // a tile may end past the row
};

// Which outputs o read which inputs i through which taps t, along one axis.
struct AxisTriples {
  std::vector<std::array<std::int64_t, 3>> all;  // {o, i, t}
  AxisTriples(std::int64_t outputs, std::int64_t inputs, std::int64_t taps, std::int64_t stride,
              std::int64_t padding, std::int64_t dilation) {
    for (std::int64_t o = 0; o < outputs; ++o)
      for (std::int64_t t = 0; t < taps; ++t)
        if (const std::int64_t i = o * stride - padding + t * dilation; i >= 0 && i < inputs)
          all.push_back({o, i, t});
  }
  // For each value of the member `target`: the pairs of the members `a` and `b`.
  IndexPairs by(int target, std::int64_t extent, int a, int b) const {
    IndexPairs pairs(static_cast<std::size_t>(extent));
    for (const auto& triple : all)
      pairs[static_cast<std::size_t>(triple[target])].emplace_back(triple[a], triple[b]);
    return pairs;
  }
};

enum class Pass { forward, backward_input, backward_weight };

inline Correlation correlation_of(const DepthwiseConv2dGeometry& g, Pass pass) {
  Correlation c;
  c.a = pass == Pass::backward_weight ? g.output : g.kernel;
  c.b = pass == Pass::backward_input ? g.output : g.input;
  c.out = pass == Pass::forward ? g.output : pass == Pass::backward_input ? g.input : g.kernel;
  c.padding = pass == Pass::backward_input
                  ? Extent2d(g.kernel.h - 1 - g.padding.h, g.kernel.w - 1 - g.padding.w)
                  : g.padding;
  c.tiled = g.stride == Extent2d(1) && g.dilation == Extent2d(1) && c.padding.h >= 0 && c.padding.w >= 0;
  if (!c.tiled) {
    const AxisTriples h(g.output.h, g.input.h, g.kernel.h, g.stride.h, g.padding.h, g.dilation.h);
    const AxisTriples w(g.output.w, g.input.w, g.kernel.w, g.stride.w, g.padding.w, g.dilation.w);
    constexpr int kOutput = 0, kInput = 1, kTap = 2;
    const int target = pass == Pass::forward ? kOutput : pass == Pass::backward_input ? kInput : kTap;
    const int a = pass == Pass::backward_weight ? kOutput : kTap;
    const int b = pass == Pass::backward_input ? kOutput : kInput;
    c.rows = h.by(target, c.out.h, a, b);
    c.columns = w.by(target, c.out.w, a, b);
  }
  return c;
}

// The planes that share vectors: whole channels where a channel has fewer samples than a vector lanes, else
// some samples of one channel. So no channel is split between two threads, and lanes are always neighbouring
// planes.
struct PlaneGroups {
  std::int64_t channels_at_once, samples_at_once, units;
  PlaneGroups(std::int64_t channels, std::int64_t batch, std::int64_t lanes)
      : channels_at_once(std::max<std::int64_t>(1, lanes / std::max<std::int64_t>(batch, 1))),
        samples_at_once(std::min(batch, lanes)),
        units((channels + channels_at_once - 1) / channels_at_once) {}
};

// Taps [begin, end) of A that outputs [j, j + tile) of a row can meet in B.
inline std::pair<std::int64_t, std::int64_t> taps_of_tile(const Correlation& c, std::int64_t j,
                                                          std::int64_t tile) {
  const std::int64_t last = std::min(j + tile, c.out.w) - 1;
  const std::int64_t begin = std::max<std::int64_t>(0, c.padding.w - last);
  return {begin, std::max(begin, std::min(c.a.w, c.b.w + c.padding.w - j))};
}

}  // namespace replk::cpu
#endif  // REPLK_DEPTHWISE_DIRECT_ONCE

HWY_BEFORE_NAMESPACE();
namespace replk::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

namespace {

// Lanes to planes and back, for one group at a time, and the correlation in between.
template <class T>
class DirectKernel {
 public:
  using D = hn::ScalableTag<T>;
  using V = hn::Vec<D>;
  static constexpr std::int64_t kLanes = hn::MaxLanes(D());
  static constexpr int kWidestTile = HWY_TARGET == HWY_AVX3 ? 14 : 8;  // 32 vector registers or 16

  explicit DirectKernel(const Correlation& c)
      : c_(c),
        a_(vectors(c.a.h * c.a.w)),
        b_(vectors(c.b.h * c.b_stride())),
        out_(vectors(c.out.h * c.out_stride())) {
    b_.fill(0);  // the margins stay zero: only the pixels between them are ever written
    a_places_ = places(c.a, c.a.w, 0);
    b_places_ = places(c.b, c.b_stride(), kMargin);
    out_places_ = places(c.out, c.out_stride(), 0);
    if (c.tiled) choose_tile();
  }

  T* a() { return a_.template data<T>(); }
  T* out() { return out_.template data<T>(); }
  std::int64_t out_place(std::int64_t i) const { return out_places_[static_cast<std::size_t>(i)]; }

  void load_a(const T* planes, std::int64_t lanes) { pack(planes, lanes, c_.a.h * c_.a.w, a_places_, a()); }
  void load_b(const T* planes, std::int64_t lanes) {
    pack(planes, lanes, c_.b.h * c_.b.w, b_places_, b_.template data<T>());
  }
  void store_out(T* planes, std::int64_t lanes, bool accumulate) {
    const std::int64_t pixels = c_.out.h * c_.out.w;
    T* plane[kLanes];
    for (std::int64_t lane = 0; lane < kLanes; ++lane)
      plane[lane] = lane < lanes ? planes + lane * pixels : nullptr;
    lanes_to_planes(D(), out(), out_places_.data(), plane, pixels, accumulate);
  }

  // Every lane of A is the kernel of its plane's channel, rotated by 180 degrees for the input gradient.
  void load_kernels(const T* weight, std::int64_t samples, std::int64_t lanes, bool rotated) {
    const std::int64_t taps = c_.a.h * c_.a.w;
    const D d;
    for (std::int64_t tap = 0; tap < taps; ++tap) {
      const T* from = weight + (rotated ? taps - 1 - tap : tap);
      T* to = a() + tap * kLanes;
      if (samples >= lanes) {
        hn::Store(hn::Set(d, *from), d, to);
      } else {
        for (std::int64_t lane = 0; lane < kLanes; ++lane)
          to[lane] = from[std::min(lane, lanes - 1) / samples * taps];
      }
    }
  }

  // out = start (a vector, or zero when null) + A correlated with B; or out += that.
  void correlate(const T* start, bool accumulate) {
    if (!c_.tiled) return correlate_pairs(start, accumulate);
    for (std::int64_t i = 0; i < c_.out.h; ++i)
      for (std::int64_t j = 0; j < c_.out.w; j += tile_) (this->*run_tile_)(i, j, start, accumulate);
  }

 private:
  static Tensor vectors(std::int64_t count) { return Tensor::empty({count * kLanes}, dtype_of<T>()); }

  // Where each pixel of an image lies in its buffer of vectors.
  static std::vector<std::int64_t> places(Extent2d size, std::int64_t stride, std::int64_t margin) {
    std::vector<std::int64_t> result;
    for (std::int64_t h = 0; h < size.h; ++h)
      for (std::int64_t w = 0; w < size.w; ++w) result.push_back((h * stride + margin + w) * kLanes);
    return result;
  }

  // Lanes past the last plane repeat it: nobody reads them, and no load needs a mask.
  static void pack(const T* planes, std::int64_t lanes, std::int64_t pixels,
                   const std::vector<std::int64_t>& to, T* out) {
    const T* plane[kLanes];
    for (std::int64_t lane = 0; lane < kLanes; ++lane)
      plane[lane] = planes + std::min(lane, lanes - 1) * pixels;
    planes_to_lanes(D(), plane, pixels, to.data(), out);
  }

  // acc[i] += sum over j < kTaps of a[j] * b[i + j]
  template <int kTile, int kTaps>
  static HWY_INLINE void multiply(D d, const T* HWY_RESTRICT a, const T* HWY_RESTRICT b,
                                  V* HWY_RESTRICT acc) {
    V taps[kTaps];
#pragma GCC unroll 4
    for (int j = 0; j < kTaps; ++j) taps[j] = hn::Load(d, a + j * kLanes);
#pragma GCC unroll 32
    for (int m = 0; m < kTile + kTaps - 1; ++m) {
      const V pixel = hn::Load(d, b + m * kLanes);
#pragma GCC unroll 4
      for (int j = 0; j < kTaps; ++j)
        if (m - j >= 0 && m - j < kTile) acc[m - j] = hn::MulAdd(taps[j], pixel, acc[m - j]);
    }
  }

  // Outputs [j, j + kTile) of row i.
  template <int kTile>
  void tile(std::int64_t i, std::int64_t j, const T* start, bool accumulate) {
    const D d;
    T* to = out() + (i * c_.out_stride() + j) * kLanes;
    V acc[kTile];
#pragma GCC unroll 16
    for (int k = 0; k < kTile; ++k)
      acc[k] = accumulate ? hn::Load(d, to + k * kLanes) : start ? hn::Load(d, start) : hn::Zero(d);
    const auto [v_begin, v_end] = taps_of_tile(c_, j, kTile);
    const std::int64_t u_begin = std::max<std::int64_t>(0, c_.padding.h - i);
    const std::int64_t u_end = std::min(c_.a.h, c_.b.h + c_.padding.h - i);
    for (std::int64_t u = u_begin; u < u_end; ++u) {
      const T* a_row = a() + u * c_.a.w * kLanes;
      const T* b_row = b_.template data<T>() +
                       ((i + u - c_.padding.h) * c_.b_stride() + kMargin + j - c_.padding.w) * kLanes;
      std::int64_t v = v_begin;
      for (; v + 4 <= v_end; v += 4) multiply<kTile, 4>(d, a_row + v * kLanes, b_row + v * kLanes, acc);
      switch (v_end - v) {
        case 3:
          multiply<kTile, 3>(d, a_row + v * kLanes, b_row + v * kLanes, acc);
          break;
        case 2:
          multiply<kTile, 2>(d, a_row + v * kLanes, b_row + v * kLanes, acc);
          break;
        case 1:
          multiply<kTile, 1>(d, a_row + v * kLanes, b_row + v * kLanes, acc);
          break;
        default:
          break;
      }
    }
#pragma GCC unroll 16
    for (int k = 0; k < kTile; ++k) hn::Store(acc[k], d, to + k * kLanes);
  }

  void correlate_pairs(const T* start, bool accumulate) {
    const D d;
    const T* b = b_.template data<T>();
    for (std::int64_t i = 0; i < c_.out.h; ++i)
      for (std::int64_t j = 0; j < c_.out.w; ++j) {
        T* to = out() + (i * c_.out_stride() + j) * kLanes;
        V acc = accumulate ? hn::Load(d, to) : start ? hn::Load(d, start) : hn::Zero(d);
        for (const auto& [a_row, b_row] : c_.rows[static_cast<std::size_t>(i)])
          for (const auto& [a_column, b_column] : c_.columns[static_cast<std::size_t>(j)])
            acc = hn::MulAdd(hn::Load(d, a() + (a_row * c_.a.w + a_column) * kLanes),
                             hn::Load(d, b + (b_row * c_.b_stride() + kMargin + b_column) * kLanes), acc);
        hn::Store(acc, d, to);
      }
  }

  // The tile width with the fewest multiply-adds, those that meet zeros and the loads of the taps included.
  template <int kTile>
  void consider(double& best) {
    if constexpr (kTile <= kWidestTile) {
      double cost = 0;
      for (std::int64_t j = 0; j < c_.out.w; j += kTile) {
        const auto [begin, end] = taps_of_tile(c_, j, kTile);
        cost += static_cast<double>(end - begin) * (kTile + 2.0) + 4;
      }
      if (cost >= best) return;
      best = cost;
      tile_ = kTile;
      run_tile_ = &DirectKernel::template tile<kTile>;
    }
  }
  void choose_tile() {
    double best = 1e30;
    consider<14>(best), consider<10>(best), consider<8>(best), consider<7>(best), consider<5>(best),
        consider<3>(best);
  }

  const Correlation& c_;
  Tensor a_, b_, out_;
  std::vector<std::int64_t> a_places_, b_places_, out_places_;
  std::int64_t tile_ = 0;
  void (DirectKernel::*run_tile_)(std::int64_t, std::int64_t, const T*, bool) = nullptr;
};

// Calls f(kernel, first channel, channels) for every unit of channels, each thread with a kernel of its own.
template <class T, class F>
void for_units(const DepthwiseConv2dGeometry& g, const Correlation& c, const PlaneGroups& groups,
               const F& f) {
  // Starting a thread's share costs microseconds: give it 2^16 vector operations or more.
  const std::int64_t work =
      c.out.h * c.out.w * std::min(c.a.h, c.b.h) * std::min(c.a.w, c.b.w) *
      ((g.batch + groups.samples_at_once - 1) / std::max<std::int64_t>(groups.samples_at_once, 1));
  parallel_for(groups.units, (1 << 16) / std::max<std::int64_t>(work, 1) + 1,
               [&](std::int64_t begin, std::int64_t end) {
                 DirectKernel<T> kernel(c);
                 for (std::int64_t unit = begin; unit < end; ++unit) {
                   const std::int64_t channel = unit * groups.channels_at_once;
                   f(kernel, channel, std::min(groups.channels_at_once, g.channels - channel));
                 }
               });
}

// Forward and input gradient: B is what comes in, `out` what goes out, A the kernels.
template <class T>
void convolve(const DepthwiseConv2dGeometry& g, Pass pass, const T* from, const T* weight, const T* bias,
              T* to, bool accumulate) {
  using Kernel = DirectKernel<T>;
  const Correlation c = correlation_of(g, pass);
  const PlaneGroups groups(g.channels, g.batch, Kernel::kLanes);
  // With pairs the taps of A are addressed as they are; as a correlation the input gradient needs them
  // rotated.
  const bool rotated = pass == Pass::backward_input && c.tiled;
  for_units<T>(g, c, groups, [&](Kernel& kernel, std::int64_t channel, std::int64_t channels) {
    for (std::int64_t n = 0; n < g.batch; n += groups.samples_at_once) {
      const std::int64_t samples = std::min(groups.samples_at_once, g.batch - n), lanes = channels * samples;
      const std::int64_t plane = channel * g.batch + n;
      if (n == 0 || channels > 1) kernel.load_kernels(weight + channel * g.taps(), samples, lanes, rotated);
      kernel.load_b(from + plane * c.b.h * c.b.w, lanes);
      HWY_ALIGN T start[Kernel::kLanes];
      for (std::int64_t lane = 0; bias && lane < Kernel::kLanes; ++lane)
        start[lane] = bias[channel + std::min(lane, lanes - 1) / samples];
      kernel.correlate(bias ? start : nullptr, false);
      kernel.store_out(to + plane * c.out.h * c.out.w, lanes, accumulate);
    }
  });
}

template <class T>
void weight_gradient(const DepthwiseConv2dGeometry& g, const T* x, const T* dy, T* dweight, bool accumulate) {
  using Kernel = DirectKernel<T>;
  const Correlation c = correlation_of(g, Pass::backward_weight);
  const PlaneGroups groups(g.channels, g.batch, Kernel::kLanes);
  for_units<T>(g, c, groups, [&](Kernel& kernel, std::int64_t channel, std::int64_t channels) {
    std::vector<T> sums(static_cast<std::size_t>(channels * g.taps()), T(0));
    for (std::int64_t n = 0; n < g.batch; n += groups.samples_at_once) {
      const std::int64_t samples = std::min(groups.samples_at_once, g.batch - n), lanes = channels * samples;
      const std::int64_t plane = channel * g.batch + n;
      kernel.load_a(dy + plane * c.a.h * c.a.w, lanes);
      kernel.load_b(x + plane * c.b.h * c.b.w, lanes);
      kernel.correlate(nullptr, false);
      for (std::int64_t tap = 0; tap < g.taps(); ++tap) {
        const T* lane = kernel.out() + kernel.out_place(tap);
        for (std::int64_t k = 0; k < channels; ++k) {
          sums[static_cast<std::size_t>(k * g.taps() + tap)] +=
              sum_lanes(hn::ScalableTag<T>(), lane, k * samples, samples);
        }
      }
    }
    T* to = dweight + channel * g.taps();
    for (std::size_t i = 0; i < sums.size(); ++i) to[i] = accumulate ? to[i] + sums[i] : sums[i];
  });
}

void forward(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& weight, const Tensor& bias,
             Tensor& y) {
  visit_real("depthwise_conv2d", x.dtype(), [&]<class T>(TypeTag<T>) {
    convolve<T>(g, Pass::forward, x.data<T>(), weight.data<T>(), bias.defined() ? bias.data<T>() : nullptr,
                y.data<T>(), false);
  });
}

void backward_input(const DepthwiseConv2dGeometry& g, const Tensor& weight, const Tensor& dy,
                    const GradTarget& dx) {
  visit_real("depthwise_conv2d", dy.dtype(), [&]<class T>(TypeTag<T>) {
    Tensor to = dx.tensor;
    convolve<T>(g, Pass::backward_input, dy.data<T>(), weight.data<T>(), nullptr, to.data<T>(),
                dx.accumulate);
  });
}

void backward_weight(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& dy,
                     const GradTarget& dweight) {
  visit_real("depthwise_conv2d", dy.dtype(), [&]<class T>(TypeTag<T>) {
    Tensor to = dweight.tensor;
    weight_gradient<T>(g, x.data<T>(), dy.data<T>(), to.data<T>(), dweight.accumulate);
  });
}

}  // namespace
}  // namespace replk::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace replk::cpu {
HWY_EXPORT(forward);
HWY_EXPORT(backward_input);
HWY_EXPORT(backward_weight);

void depthwise_conv2d_forward_direct(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& weight,
                                     const Tensor& bias, Tensor& y) {
  HWY_DYNAMIC_DISPATCH(forward)(g, x, weight, bias, y);
}
void depthwise_conv2d_backward_input_direct(const DepthwiseConv2dGeometry& g, const Tensor& weight,
                                            const Tensor& dy, GradTarget dx) {
  HWY_DYNAMIC_DISPATCH(backward_input)(g, weight, dy, dx);
}
void depthwise_conv2d_backward_weight_direct(const DepthwiseConv2dGeometry& g, const Tensor& x,
                                             const Tensor& dy, GradTarget dweight) {
  HWY_DYNAMIC_DISPATCH(backward_weight)(g, x, dy, dweight);
}

}  // namespace replk::cpu
#endif  // HWY_ONCE
