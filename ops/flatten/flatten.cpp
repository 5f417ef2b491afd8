#include "ops/flatten/flatten.h"

#include "core/dispatch.h"

namespace replk {

Variable flatten(const Variable& x) {
  const Shape& shape = x.shape();
  check(x.defined() && shape.rank() == 4, "flatten: x (C, N, H, W) expected, got ", x.data(), ".");
  Tensor y = Tensor::empty({shape[1], shape[0] * shape[2] * shape[3]}, x.data().dtype(), x.data().device());
  dispatch(
      "flatten", y.device(), [&] { cpu::flatten_forward(x.data(), y); },
      [&] { cuda::flatten_forward(x.data(), y); });
  return record("flatten", y, {x}, /*saved=*/{}, [](const Saved&, const Tensor& dy, GradSink& grads) {
    dispatch(
        "flatten.backward", dy.device(), [&] { cpu::flatten_backward(dy, grads.into(0)); },
        [&] { cuda::flatten_backward(dy, grads.into(0)); });
  });
}

}  // namespace replk
