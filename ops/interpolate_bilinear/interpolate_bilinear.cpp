#include "ops/interpolate_bilinear/interpolate_bilinear.h"

#include <cmath>

#include "core/dispatch.h"

namespace replk {

InterpolateTap InterpolateAxis::tap(std::int64_t o) const {
  const auto position = static_cast<double>(o), from = static_cast<double>(in), to = static_cast<double>(out);
  double source;
  if (align_corners)
    source = out > 1 ? position * (from - 1) / (to - 1) : 0;
  else
    source = std::max(0.0, (position + 0.5) * from / to - 0.5);
  const std::int64_t low = std::min(static_cast<std::int64_t>(source), in - 1);
  return {low, std::min(low + 1, in - 1), source - static_cast<double>(low)};
}

InterpolateGeometry InterpolateGeometry::of(const Shape& x, const InterpolateParams& params) {
  check(x.rank() == 4 && x[2] >= 1 && x[3] >= 1,
        "interpolate_bilinear: x (C, N, H, W) with at least one pixel expected, got ", x, ".");
  check(params.size.h >= 1 && params.size.w >= 1,
        "interpolate_bilinear: a size of at least 1x1 expected, got ", params.size, ".");
  return {
      x[0] * x[1], {x[2], params.size.h, params.align_corners}, {x[3], params.size.w, params.align_corners}};
}

Variable interpolate_bilinear(const Variable& x, const InterpolateParams& params) {
  const auto g = InterpolateGeometry::of(x.shape(), params);
  Tensor y = Tensor::empty({x.shape()[0], x.shape()[1], params.size.h, params.size.w}, x.data().dtype(),
                           x.data().device());
  dispatch("interpolate_bilinear", y.device(), [&] { cpu::interpolate_bilinear_forward(g, x.data(), y); });
  return record("interpolate_bilinear", y, {x}, /*saved=*/{},
                [g](const Saved&, const Tensor& dy, GradSink& grads) {
                  dispatch("interpolate_bilinear.backward", dy.device(), [&] {
                    if (grads.wants(0)) cpu::interpolate_bilinear_backward(g, dy, grads.into(0));
                  });
                });
}

}  // namespace replk
