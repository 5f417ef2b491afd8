// interpolate_bilinear: resizes maps by linear interpolation along both axes.
#pragma once

#include <algorithm>

#include "core/tape.h"

namespace replk {

struct InterpolateParams {
  Extent2d size = 0;           // of the output, must be given
  bool align_corners = false;  // true: the centres of the corner pixels of x and y coincide
};

/// y[c, n, ho, wo] = sum over two rows and two columns of weights that are linear in the distance from
///   h = max(0, (ho + 1/2) * H / Ho - 1/2), or with align_corners  h = ho * (H - 1) / (Ho - 1)    (w alike)
///
/// x (C, N, H, W); y (C, N, size.h, size.w). f32, f64. Past the outermost centres the map is constant. When
/// it shrinks, pixels between the taps are not looked at (no antialiasing). Saves nothing. Throws Error for
/// another rank or an empty map or size. Source: own; the positions are PyTorch's.
Variable interpolate_bilinear(const Variable& x, const InterpolateParams& params);

/// Two neighbours of an output position and the share of the upper one.
struct InterpolateTap {
  std::int64_t low, high;
  double high_weight;
};

/// One axis: which inputs an output is made of.
struct InterpolateAxis {
  std::int64_t in, out;
  bool align_corners;

  constexpr InterpolateTap tap(std::int64_t o) const {
    const auto position = static_cast<double>(o), from = static_cast<double>(in),
               to = static_cast<double>(out);
    double source = 0;
    if (!align_corners)
      source = std::max(0.0, (position + 0.5) * from / to - 0.5);
    else if (out > 1)
      source = position * (from - 1) / (to - 1);
    const std::int64_t low = std::min(static_cast<std::int64_t>(source), in - 1);
    return {low, std::min(low + 1, in - 1), source - static_cast<double>(low)};
  }

  /// Outputs [begin, end) among which are all that read input i, and a few more at most.
  struct Range {
    std::int64_t begin, end;
  };
  constexpr Range outputs_near(std::int64_t i) const {
    // Outputs whose source lies within one pixel of i, a step further on each side against rounding.
    const auto center = static_cast<double>(i), to = static_cast<double>(out);
    double first = 0, last = to;
    if (!align_corners) {
      const double scale = to / static_cast<double>(in);
      first = (center - 0.5) * scale - 1.5, last = (center + 1.5) * scale + 1.5;
    } else if (in > 1 && out > 1) {
      const double scale = (to - 1) / static_cast<double>(in - 1);
      first = (center - 1) * scale - 1, last = (center + 1) * scale + 2;
    }
    if (i == in - 1) last = to;  // past the outermost centre the map is constant
    return {std::max<std::int64_t>(static_cast<std::int64_t>(first), 0),
            std::min(static_cast<std::int64_t>(last), out)};
  }
  /// The share of input i in output o.
  constexpr double weight(std::int64_t o, std::int64_t i) const {
    const InterpolateTap t = tap(o);
    return (t.low == i ? 1 - t.high_weight : 0) + (t.high == i ? t.high_weight : 0);
  }
};

/// What the kernels see: planes of rows.in x columns.in, resized to rows.out x columns.out.
struct InterpolateGeometry {
  std::int64_t planes;
  InterpolateAxis rows, columns;
  static InterpolateGeometry of(const Shape& x, const InterpolateParams& params);
};

namespace cpu {
void interpolate_bilinear_forward(const InterpolateGeometry& g, const Tensor& x, Tensor& y);
/// dx[c, n, h, w] = sum of weight * dy[c, n, ho, wo] over the outputs that read (h, w)
void interpolate_bilinear_backward(const InterpolateGeometry& g, const Tensor& dy, GradTarget dx);
}  // namespace cpu

namespace cuda {  // the same on the GPU, also in bf16 and f16
void interpolate_bilinear_forward(const InterpolateGeometry& g, const Tensor& x, Tensor& y);
void interpolate_bilinear_backward(const InterpolateGeometry& g, const Tensor& dy, GradTarget dx);
}  // namespace cuda

}  // namespace replk
