#include "ops/max_pool2d/max_pool2d.h"

#include "core/dispatch.h"

namespace replk {

Variable max_pool2d(const Variable& x, const Pool2dParams& params) {
  const auto g = Pool2dGeometry::sliding("max_pool2d", x.shape(), params);
  Tensor y = Tensor::empty(g.output_shape, x.data().dtype(), x.data().device());
  Tensor places = Tensor::empty(g.output_shape, DType::i64, x.data().device());
  dispatch(
      "max_pool2d", y.device(), [&] { cpu::max_pool2d_forward(g, x.data(), y, places); },
      [&] { cuda::max_pool2d_forward(g, x.data(), y, places); });
  return record("max_pool2d", y, {x}, /*saved=*/{places},
                [g](const Saved& saved, const Tensor& dy, GradSink& grads) {
                  dispatch(
                      "max_pool2d.backward", dy.device(),
                      [&] { cpu::max_pool2d_backward(g, saved[0], dy, grads.into(0)); },
                      [&] { cuda::max_pool2d_backward(g, saved[0], dy, grads.into(0)); });
                });
}

}  // namespace replk
