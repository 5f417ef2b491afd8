#include "ops/add/add.h"

#include "core/dispatch.h"
#include "ops/primitives/elementwise.h"

namespace replk {

Variable add(const Variable& a, const Variable& b) {
  check(a.shape() == b.shape() && a.data().dtype() == b.data().dtype() &&
            a.data().device() == b.data().device(),
        "add: two tensors of one shape, dtype and device expected, got ", a.data(), " and ", b.data(), ".");
  Tensor y = Tensor::empty_like(a.data());
  dispatch("add", y.device(), [&] { cpu::add_forward(a.data(), b.data(), y); });
  return record("add", y, {a, b}, /*saved=*/{}, [](const Saved&, const Tensor& dy, GradSink& grads) {
    pass_gradient(grads, 0, dy);
    pass_gradient(grads, 1, dy);
  });
}

}  // namespace replk
