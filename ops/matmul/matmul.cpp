#include "ops/matmul/matmul.h"

#include "core/dispatch.h"

namespace replk {

MatmulGeometry MatmulGeometry::of(const Tensor& a, const Tensor& b) {
  check(a.rank() == 2 && b.rank() == 2 && a.size(1) == b.size(0),
        "matmul: a (m, k) and b (k, n) expected, got a ", a.shape(), " and b ", b.shape(), ".");
  check(a.dtype() == b.dtype() && a.device() == b.device(), "matmul: a is ", a, ", b ", b,
        ": one dtype and device expected.");
  return {a.size(0), b.size(1), a.size(1)};
}

Variable matmul(const Variable& a, const Variable& b) {
  const auto g = MatmulGeometry::of(a.data(), b.data());
  Tensor y = Tensor::empty({g.m, g.n}, a.data().dtype(), a.data().device());
  dispatch(
      "matmul", y.device(), [&] { cpu::matmul_forward(g, a.data(), b.data(), y); },
      [&] { cuda::matmul_forward(g, a.data(), b.data(), y); });
  return record("matmul", y, {a, b}, /*saved=*/{a.data(), b.data()},
                [g](const Saved& saved, const Tensor& dy, GradSink& grads) {
                  dispatch(
                      "matmul.backward", dy.device(),
                      [&] {
                        if (grads.wants(0)) cpu::matmul_backward_a(g, saved[1], dy, grads.into(0));
                        if (grads.wants(1)) cpu::matmul_backward_b(g, saved[0], dy, grads.into(1));
                      },
                      [&] {
                        if (grads.wants(0)) cuda::matmul_backward_a(g, saved[1], dy, grads.into(0));
                        if (grads.wants(1)) cuda::matmul_backward_b(g, saved[0], dy, grads.into(1));
                      });
                });
}

}  // namespace replk
