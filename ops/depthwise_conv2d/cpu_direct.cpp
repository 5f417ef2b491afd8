// The direct kernel: one channel per vector lane.
//
// The planes of 16 channels (f32, AVX-512) of one sample are transposed into vectors that hold the same pixel
// of 16 planes. From there on the loops need no shuffle and no edge case for any kernel or map size, kernels
// are transposed once for all samples, and all three passes are one correlation (correlation.h) of small
// images whose pixels are vectors:
//
//     out[i, j] = sum over u, v of A[u, v] * B[os i + as u - p, os j + as v - p]        (B = 0 outside)
//
// Rows of B that lie outside are skipped, columns too, up to a tile. In the inner loop a tile of `kTile`
// outputs of a row stays in registers; of A, 4 taps at a time are loaded, and every pixel of B once for all
// of them: (kTile + 7) loads for 4 kTile multiply-adds when the steps are 1.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/depthwise_conv2d/cpu_direct.cpp"

#include <algorithm>
#include <vector>

#include "core/parallel.h"
#include "ops/depthwise_conv2d/correlation.h"
#include "ops/primitives/simd_targets.h"
// Highway compiles the rest of this file once per instruction set.
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/depthwise_conv2d/plane_lanes-inl.h"
#include "ops/depthwise_conv2d/registers-inl.h"

HWY_BEFORE_NAMESPACE();
namespace replk::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

namespace {

// acc[t] += sum over k < kTaps of a[k] * b[kOutStep t + kTapStep k]; a[k] lies k * a_step elements on.
template <int kTile, int kTaps, int kOutStep, int kTapStep, class D, class T = hn::TFromD<D>>
HWY_INLINE void multiply(D d, const T* HWY_RESTRICT a, std::int64_t a_step, const T* HWY_RESTRICT b,
                         hn::Vec<D>* HWY_RESTRICT acc) {
  constexpr std::int64_t kLanes = hn::MaxLanes(D());
  constexpr int kPixels = kOutStep * (kTile - 1) + kTapStep * (kTaps - 1) + 1;
  hn::Vec<D> taps[kTaps];
#pragma GCC unroll 4
  for (int k = 0; k < kTaps; ++k) taps[k] = hn::Load(d, a + k * a_step);
#pragma GCC unroll 32
  for (int m = 0; m < kPixels; ++m) {
    const hn::Vec<D> pixel = in_register(hn::Load(d, b + m * kLanes));
#pragma GCC unroll 4
    for (int k = 0; k < kTaps; ++k) {
      const int rest = m - kTapStep * k;
      if (rest >= 0 && rest % kOutStep == 0 && rest / kOutStep < kTile)
        acc[rest / kOutStep] = hn::MulAdd(taps[k], pixel, acc[rest / kOutStep]);
    }
  }
}

// The buffers of one thread, with the images of one group of channels in them, and the correlation.
template <class T>
class DirectKernel {
 public:
  using D = hn::ScalableTag<T>;
  using V = hn::Vec<D>;
  static constexpr std::int64_t kLanes = hn::MaxLanes(D());
  static constexpr int kWidestTile = HWY_TARGET == HWY_AVX3 ? 14 : 8;  // 32 vector registers or 16

  // The phases of one pass: they share A, B and the plane of outputs.
  DirectKernel(const std::vector<Correlation>& phases, Extent2d a_plane, Extent2d out_plane)
      : out_pixels_(out_plane.h * out_plane.w) {
    const Correlation& c = phases.front();
    for (const Correlation& phase : phases) tiles_.push_back(choose_tiles(phase));
    for (const Tiles& tiles : tiles_) margin_ = std::max(margin_, margin_of(tiles));
    b_stride_ = c.b.w + margin_;
    a_ = vectors(a_plane.h * a_plane.w);
    b_ = vectors(c.b.h * b_stride_ + margin_);
    out_ = vectors(out_pixels_);
    a_data_ = a_.template data<T>(), b_data_ = b_.template data<T>(), out_data_ = out_.template data<T>();
    b_.fill(0);  // the margins stay zero: only the pixels between them are ever written
    for (std::int64_t i = 0; i < std::max(a_plane.h * a_plane.w, out_pixels_); ++i)
      in_order_.push_back(i * kLanes);
    b_places_.resize(static_cast<std::size_t>(c.b.h * c.b.w));
    for (std::int64_t h = 0; h < c.b.h; ++h)
      for (std::int64_t w = 0; w < c.b.w; ++w)
        b_places_[static_cast<std::size_t>(c.b_view.at(h, w))] = (h * b_stride_ + margin_ + w) * kLanes;
  }

  // Planes of the `channels` channels of a group, `step` elements from one to the next.
  void load_a(const T* planes, std::int64_t step, std::int64_t channels, std::int64_t pixels) {
    pack(planes, step, channels, pixels, in_order_, a_data_);
  }
  void load_b(const T* planes, std::int64_t step, std::int64_t channels) {
    pack(planes, step, channels, static_cast<std::int64_t>(b_places_.size()), b_places_, b_data_);
  }
  void store_out(T* planes, std::int64_t step, std::int64_t channels, bool accumulate) {
    T* plane[kLanes];
    for (std::int64_t lane = 0; lane < kLanes; ++lane)
      plane[lane] = lane < channels ? planes + lane * step : nullptr;
    lanes_to_planes(D(), out_data_, in_order_.data(), plane, out_pixels_, accumulate);
  }

  // out = start (one vector, or zero when null) + A correlated with B; or out += that. Down a column of
  // tiles, because one tile reads most of the pixels of B that the one below it reads.
  void correlate(const T* start, bool accumulate) {
    for (const Tiles& tiles : tiles_)
      for (const TileColumn& column : tiles.columns)
        for (std::int64_t i = 0; i < tiles.c.out.h; ++i)
          (this->*tiles.run)(tiles, column, i, start, accumulate);
  }

 private:
  using Range = Correlation::Range;
  struct TileColumn {
    std::int64_t first, width;  // outputs
    Range taps;                 // columns of A that they meet
  };
  // How the outputs of a phase are divided, and the kernel for a tile.
  struct Tiles {
    const Correlation& c;
    std::int64_t width;
    void (DirectKernel::*run)(const Tiles&, const TileColumn&, std::int64_t, const T*, bool);
    std::vector<TileColumn> columns;
    std::vector<Range> rows;  // of A, for every row of outputs
  };

  static Tensor vectors(std::int64_t count) { return Tensor::empty({count * kLanes}, dtype_of<T>()); }

  // Lanes past the last channel repeat it: nobody reads them, and no load needs a mask.
  static void pack(const T* planes, std::int64_t step, std::int64_t channels, std::int64_t pixels,
                   const std::vector<std::int64_t>& to, T* out) {
    const T* plane[kLanes];
    for (std::int64_t lane = 0; lane < kLanes; ++lane)
      plane[lane] = planes + std::min(lane, channels - 1) * step;
    planes_to_lanes(D(), plane, pixels, to.data(), out);
  }

  // The outputs of one column of tiles in row i.
  template <int kTile, int kOutStep, int kTapStep>
  void run_tile(const Tiles& tiles, const TileColumn& column, std::int64_t i, const T* start,
                bool accumulate) {
    const D d;
    const Correlation& c = tiles.c;
    const auto [j, width, v_range] = column;
    const auto [u_begin, u_end] = tiles.rows[static_cast<std::size_t>(i)];
    T* to = out_data_ + c.out_view.at(i, j) * kLanes;
    const std::int64_t to_step = c.out_view.column * kLanes, a_step = c.a_view.column * kLanes;
    V acc[kTile];
#pragma GCC unroll 16
    for (int k = 0; k < kTile; ++k)
      acc[k] = accumulate && k < width ? hn::Load(d, to + k * to_step)
               : start                 ? hn::Load(d, start)
                                       : hn::Zero(d);
    const T* a_row = a_data_ + c.a_view.at(u_begin, 0) * kLanes;
    const T* b_row = b_data_ + ((kOutStep * i + kTapStep * u_begin - c.padding.h) * b_stride_ + margin_ +
                                kOutStep * j - c.padding.w) *
                                   kLanes;
    for (std::int64_t u = u_begin; u < u_end;
         ++u, a_row += c.a_view.row * kLanes, b_row += kTapStep * b_stride_ * kLanes) {
      std::int64_t v = v_range.begin;
      const auto step = [&]<int kTaps>(std::integral_constant<int, kTaps>) HWY_ATTR {
        multiply<kTile, kTaps, kOutStep, kTapStep>(d, a_row + v * a_step, a_step,
                                                   b_row + kTapStep * v * kLanes, acc);
      };
      for (; v + 4 <= v_range.end; v += 4) step(std::integral_constant<int, 4>());
      switch (v_range.end - v) {
        case 3:
          step(std::integral_constant<int, 3>());
          break;
        case 2:
          step(std::integral_constant<int, 2>());
          break;
        case 1:
          step(std::integral_constant<int, 1>());
          break;
        default:
          break;
      }
    }
#pragma GCC unroll 16
    for (int k = 0; k < kTile; ++k)
      if (k < width) hn::Store(acc[k], d, to + k * to_step);
  }

  // A row of outputs where every pixel of a row of B meets every tap of a row of A, both kWidth long: the
  // weight gradient of a kernel that just reaches over the whole map. No product meets a zero, as half of
  // those of a tile would.
  template <int kWidth>
  void run_whole_row(const Tiles& tiles, const TileColumn&, std::int64_t i, const T*, bool accumulate) {
    constexpr int kOut = 2 * kWidth - 1;
    const D d;
    const Correlation& c = tiles.c;
    const auto [u_begin, u_end] = tiles.rows[static_cast<std::size_t>(i)];
    T* to = out_data_ + c.out_view.at(i, 0) * kLanes;
    const std::int64_t to_step = c.out_view.column * kLanes;
    V acc[kOut];
#pragma GCC unroll 16
    for (int k = 0; k < kOut; ++k) acc[k] = accumulate ? hn::Load(d, to + k * to_step) : hn::Zero(d);
    for (std::int64_t u = u_begin; u < u_end; ++u) {
      const T* a = a_data_ + c.a_view.at(u, 0) * kLanes;
      const T* b = b_data_ + ((i + u - c.padding.h) * b_stride_ + margin_) * kLanes;
      V pixels[kWidth];
#pragma GCC unroll 8
      for (int m = 0; m < kWidth; ++m) pixels[m] = hn::Load(d, b + m * kLanes);
#pragma GCC unroll 8
      for (int v = 0; v < kWidth; ++v) {
        const V tap = in_register(hn::Load(d, a + v * c.a_view.column * kLanes));
#pragma GCC unroll 8
        for (int m = 0; m < kWidth; ++m)
          acc[m - v + kWidth - 1] = hn::MulAdd(tap, pixels[m], acc[m - v + kWidth - 1]);
      }
    }
#pragma GCC unroll 16
    for (int k = 0; k < kOut; ++k) hn::Store(acc[k], d, to + k * to_step);
  }

  // The tile width with the fewest multiply-adds, those that meet zeros and the loads of the taps included.
  template <int kTile, int kOutStep, int kTapStep>
  void consider(Tiles& best, double& best_cost) {
    if constexpr (kTile <= kWidestTile) {
      std::vector<TileColumn> columns;
      double cost = 0;
      for (std::int64_t j = 0; j < best.c.out.w; j += kTile) {
        const std::int64_t width = std::min<std::int64_t>(kTile, best.c.out.w - j);
        columns.push_back({j, width, best.c.taps_w(j, j + width - 1)});
        cost += static_cast<double>(columns.back().taps.end - columns.back().taps.begin) * (kTile + 2.0) + 4;
      }
      if (cost >= best_cost) return;
      best_cost = cost;
      best.width = kTile;
      best.columns = std::move(columns);
      best.run = &DirectKernel::template run_tile<kTile, kOutStep, kTapStep>;
    }
  }
  Tiles choose_tiles(const Correlation& c) {
    double cost = 1e30;
    Tiles best{c, c.out.w, nullptr, {}, {}};
    for (std::int64_t i = 0; i < c.out.h; ++i) best.rows.push_back(c.taps_h(i));
    constexpr int kWidth = 7;  // 13 sums, which is what 16 registers hold
    if (c.a_source == Correlation::Source::dy && c.a_step == 1 && c.a.w == kWidth && c.b.w == kWidth &&
        c.out.w == 2 * kWidth - 1 && c.padding.w == kWidth - 1) {
      best.columns = {{0, c.out.w, {0, kWidth}}};
      best.run = &DirectKernel::template run_whole_row<kWidth>;
    } else if (c.out_step == 2) {
      consider<7, 2, 1>(best, cost), consider<4, 2, 1>(best, cost);
    } else if (c.a_step == 2) {
      consider<7, 1, 2>(best, cost), consider<5, 1, 2>(best, cost), consider<3, 1, 2>(best, cost);
    } else {
      consider<14, 1, 1>(best, cost), consider<10, 1, 1>(best, cost), consider<8, 1, 1>(best, cost),
          consider<7, 1, 1>(best, cost), consider<5, 1, 1>(best, cost), consider<3, 1, 1>(best, cost);
    }
    return best;
  }

  // How far tiles read past an end of a row of B; the zeros behind one row are those before the next. Not
  // more than that, so that small maps stay in the first-level cache.
  static std::int64_t margin_of(const Tiles& tiles) {
    const Correlation& c = tiles.c;
    std::int64_t margin = 0;
    for (const auto& [first, width, taps] : tiles.columns) {
      if (taps.begin == taps.end) continue;
      const std::int64_t begin = c.out_step * first + c.a_step * taps.begin - c.padding.w;
      const std::int64_t last =
          c.out_step * (first + tiles.width - 1) + c.a_step * (taps.end - 1) - c.padding.w;
      margin = std::max({margin, -begin, last - (c.b.w - 1)});
    }
    return margin;
  }

  std::int64_t out_pixels_, margin_ = 0, b_stride_;
  Tensor a_, b_, out_;
  T *a_data_, *b_data_, *out_data_;
  std::vector<std::int64_t> in_order_, b_places_;
  std::vector<Tiles> tiles_;
};

// Forward and input gradient.
template <class T>
void convolve(const DepthwiseConv2dGeometry& g, DepthwisePass pass, const T* from, const T* weight,
              const T* bias, T* to, bool accumulate) {
  using Kernel = DirectKernel<T>;
  constexpr std::int64_t kLanes = Kernel::kLanes;
  const std::vector<Correlation> phases = correlations_of(g, pass);
  const bool weight_is_a = phases.front().a_source == Correlation::Source::weight;
  const Extent2d in = pass == DepthwisePass::forward ? g.input : g.output;
  const Extent2d out = pass == DepthwisePass::forward ? g.output : g.input;
  const std::int64_t groups = (g.channels + kLanes - 1) / kLanes;
  // Starting a thread's share costs microseconds: give it 2^16 vector operations or more.
  const std::int64_t work = products(phases) + 12 * (in.area() + out.area());
  parallel_for(groups * g.batch, (1 << 16) / work + 1, [&](std::int64_t begin, std::int64_t end) {
    Kernel kernel(phases, weight_is_a ? g.kernel : in, out);
    std::int64_t loaded = -1;
    HWY_ALIGN T start[kLanes];
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t channel = task / g.batch * kLanes, plane = channel * g.batch + task % g.batch;
      const std::int64_t channels = std::min(kLanes, g.channels - channel);
      if (channel != loaded) {
        const T* kernels = weight + channel * g.taps();
        weight_is_a ? kernel.load_a(kernels, g.taps(), channels, g.taps())
                    : kernel.load_b(kernels, g.taps(), channels);
        for (std::int64_t lane = 0; bias && lane < kLanes; ++lane)
          start[lane] = bias[channel + std::min(lane, channels - 1)];
        loaded = channel;
      }
      const T* planes = from + plane * in.area();
      const std::int64_t step = g.batch * in.area();
      weight_is_a ? kernel.load_b(planes, step, channels) : kernel.load_a(planes, step, channels, in.area());
      kernel.correlate(bias ? start : nullptr, false);
      kernel.store_out(to + plane * out.area(), g.batch * out.area(), channels, accumulate);
    }
  });
}

// Where a few channels would leave threads without work the samples are cut into parts, the same for any
// number of threads, whose sums are added in order.
template <class T>
void weight_gradient(const DepthwiseConv2dGeometry& g, const T* x, const T* dy, T* dweight, bool accumulate) {
  using Kernel = DirectKernel<T>;
  constexpr std::int64_t kLanes = Kernel::kLanes, kTasks = 8;
  const std::vector<Correlation> phases = correlations_of(g, DepthwisePass::backward_weight);
  const std::int64_t groups = (g.channels + kLanes - 1) / kLanes;
  const std::int64_t parts = std::clamp<std::int64_t>(kTasks / groups, 1, g.batch);
  const std::int64_t elements = g.channels * g.taps();
  Tensor partials = Tensor::empty({(parts - 1) * elements}, dtype_of<T>());
  T* partial = partials.data<T>();
  const std::int64_t work =
      (products(phases) + 6 * (g.input.area() + g.output.area())) * ((g.batch + parts - 1) / parts);
  parallel_for(groups * parts, (1 << 16) / work + 1, [&](std::int64_t begin, std::int64_t end) {
    Kernel kernel(phases, g.output, g.kernel);
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t channel = task / parts * kLanes, part = task % parts;
      const std::int64_t channels = std::min(kLanes, g.channels - channel);
      const std::int64_t first = g.batch * part / parts, last = g.batch * (part + 1) / parts;
      for (std::int64_t n = first; n < last; ++n) {
        const std::int64_t plane = channel * g.batch + n;
        kernel.load_a(dy + plane * g.output.area(), g.batch * g.output.area(), channels, g.output.area());
        kernel.load_b(x + plane * g.input.area(), g.batch * g.input.area(), channels);
        kernel.correlate(nullptr, n > first);
      }
      T* to = part == 0 ? dweight : partial + (part - 1) * elements;
      kernel.store_out(to + channel * g.taps(), g.taps(), channels, part == 0 && accumulate);
    }
  });
  for (std::int64_t part = 1; part < parts; ++part)
    for (std::int64_t i = 0; i < elements; ++i) dweight[i] += partial[(part - 1) * elements + i];
}

void direct_forward(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& weight,
                    const Tensor& bias, Tensor& y) {
  visit_real("depthwise_conv2d", x.dtype(), [&]<class T>(TypeTag<T>) {
    convolve<T>(g, DepthwisePass::forward, x.data<T>(), weight.data<T>(),
                bias.defined() ? bias.data<T>() : nullptr, y.data<T>(), false);
  });
}

void direct_backward_input(const DepthwiseConv2dGeometry& g, const Tensor& weight, const Tensor& dy,
                           const GradTarget& dx) {
  visit_real("depthwise_conv2d", dy.dtype(), [&]<class T>(TypeTag<T>) {
    Tensor to = dx.tensor;
    convolve<T>(g, DepthwisePass::backward_input, dy.data<T>(), weight.data<T>(), nullptr, to.data<T>(),
                dx.accumulate);
  });
}

void direct_backward_weight(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& dy,
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
HWY_EXPORT(direct_forward);
HWY_EXPORT(direct_backward_input);
HWY_EXPORT(direct_backward_weight);

bool depthwise_direct_applies(const DepthwiseConv2dGeometry& g) {
  return !correlations_of(g, DepthwisePass::forward).empty();
}

void depthwise_conv2d_forward_direct(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& weight,
                                     const Tensor& bias, Tensor& y) {
  HWY_DYNAMIC_DISPATCH(direct_forward)(g, x, weight, bias, y);
}
void depthwise_conv2d_backward_input_direct(const DepthwiseConv2dGeometry& g, const Tensor& weight,
                                            const Tensor& dy, GradTarget dx) {
  HWY_DYNAMIC_DISPATCH(direct_backward_input)(g, weight, dy, dx);
}
void depthwise_conv2d_backward_weight_direct(const DepthwiseConv2dGeometry& g, const Tensor& x,
                                             const Tensor& dy, GradTarget dweight) {
  HWY_DYNAMIC_DISPATCH(direct_backward_weight)(g, x, dy, dweight);
}

}  // namespace replk::cpu
#endif  // HWY_ONCE
