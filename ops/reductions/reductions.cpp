#include "ops/reductions/reductions.h"

#include "core/dispatch.h"

namespace replk {
namespace {

Variable reduce(const char* op, const Variable& x, double divisor) {
  Tensor y = Tensor::empty({}, x.data().dtype(), x.data().device());
  dispatch(
      op, y.device(), [&] { cpu::sum_forward(x.data(), divisor, y); },
      [&] { cuda::sum_forward(x.data(), divisor, y); });
  return record(op, y, {x}, /*saved=*/{}, [divisor](const Saved&, const Tensor& dy, GradSink& grads) {
    dispatch(
        "sum.backward", dy.device(), [&] { cpu::sum_backward(dy, divisor, grads.into(0)); },
        [&] { cuda::sum_backward(dy, divisor, grads.into(0)); });
  });
}

}  // namespace

Variable sum(const Variable& x) {
  check(x.defined(), "sum: a tensor expected, got an empty one.");
  return reduce("sum", x, 1);
}

Variable mean(const Variable& x) {
  check(x.defined(), "mean: a tensor expected, got an empty one.");
  return reduce("mean", x, static_cast<double>(x.data().numel()));
}

}  // namespace replk
