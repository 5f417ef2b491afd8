#include "ops/add/add.h"

#include "core/dispatch.h"
#include "ops/primitives/elementwise.h"

namespace replk {

Variable add(const Variable& a, const Variable& b, AddParams params) {
  check(a.shape() == b.shape() && a.data().dtype() == b.data().dtype() &&
            a.data().device() == b.data().device(),
        "add: two tensors of one shape, dtype and device expected, got ", a.data(), " and ", b.data(), ".");
  Tensor y = Tensor::empty_like(a.data());
  dispatch(
      "add", y.device(), [&] { cpu::add_forward(a.data(), b.data(), params, y); },
      [&] { cuda::add_forward(a.data(), b.data(), params, y); });
  const Saved saved = params.relu ? Saved{y} : Saved{};
  return record("add", y, {a, b}, saved, [params](const Saved& kept, const Tensor& dy, GradSink& grads) {
    Tensor dz = dy;
    if (params.relu) {
      dz = Tensor::empty_like(dy);
      dispatch(
          "add.backward", dy.device(), [&] { cpu::add_relu_backward(kept[0], dy, dz); },
          [&] { cuda::add_relu_backward(kept[0], dy, dz); });
    }
    pass_gradient(grads, 0, dz);
    pass_gradient(grads, 1, dz);
  });
}

}  // namespace replk
