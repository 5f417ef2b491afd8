// interpolate_bilinear: resizes maps by linear interpolation along both axes.
#pragma once

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
  InterpolateTap tap(std::int64_t o) const;
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

}  // namespace replk
