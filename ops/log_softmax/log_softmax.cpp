#include "ops/log_softmax/log_softmax.h"

#include "core/dispatch.h"

namespace replk {

Variable log_softmax(const Variable& x) {
  check(x.defined() && x.data().rank() == 2 && x.data().size(1) >= 1,
        "log_softmax: logits (N, classes) expected, got ", x.shape(), ".");
  Tensor y = Tensor::empty_like(x.data());
  dispatch(
      "log_softmax", y.device(), [&] { cpu::log_softmax_forward(x.data(), y); },
      [&] { cuda::log_softmax_forward(x.data(), y); });
  return record("log_softmax", y, {x}, /*saved=*/{y},
                [](const Saved& saved, const Tensor& dy, GradSink& grads) {
                  dispatch(
                      "log_softmax.backward", dy.device(),
                      [&] { cpu::log_softmax_backward(saved[0], dy, grads.into(0)); },
                      [&] { cuda::log_softmax_backward(saved[0], dy, grads.into(0)); });
                });
}

}  // namespace replk
