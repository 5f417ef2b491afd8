#include "ops/avg_pool2d/avg_pool2d.h"

#include "core/dispatch.h"

namespace replk {
namespace {

Variable pool(const char* op, const Pool2dGeometry& g, const Variable& x) {
  Tensor y = Tensor::empty(g.output_shape, x.data().dtype(), x.data().device());
  dispatch(
      op, y.device(), [&] { cpu::avg_pool2d_forward(g, x.data(), y); },
      [&] { cuda::avg_pool2d_forward(g, x.data(), y); });
  return record(op, y, {x}, /*saved=*/{}, [g](const Saved&, const Tensor& dy, GradSink& grads) {
    dispatch(
        "avg_pool2d.backward", dy.device(), [&] { cpu::avg_pool2d_backward(g, dy, grads.into(0)); },
        [&] { cuda::avg_pool2d_backward(g, dy, grads.into(0)); });
  });
}

}  // namespace

Variable avg_pool2d(const Variable& x, const Pool2dParams& params) {
  return pool("avg_pool2d", Pool2dGeometry::sliding("avg_pool2d", x.shape(), params), x);
}

Variable adaptive_avg_pool2d(const Variable& x, Extent2d output_size) {
  return pool("adaptive_avg_pool2d", Pool2dGeometry::adaptive("adaptive_avg_pool2d", x.shape(), output_size),
              x);
}

}  // namespace replk
