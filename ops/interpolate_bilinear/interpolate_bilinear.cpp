#include "ops/interpolate_bilinear/interpolate_bilinear.h"

#include "core/dispatch.h"

namespace replk {

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
  dispatch(
      "interpolate_bilinear", y.device(), [&] { cpu::interpolate_bilinear_forward(g, x.data(), y); },
      [&] { cuda::interpolate_bilinear_forward(g, x.data(), y); });
  return record("interpolate_bilinear", y, {x}, /*saved=*/{},
                [g](const Saved&, const Tensor& dy, GradSink& grads) {
                  dispatch(
                      "interpolate_bilinear.backward", dy.device(),
                      [&] { cpu::interpolate_bilinear_backward(g, dy, grads.into(0)); },
                      [&] { cuda::interpolate_bilinear_backward(g, dy, grads.into(0)); });
                });
}

}  // namespace replk
