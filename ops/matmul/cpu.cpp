#include "ops/matmul/matmul.h"
#include "ops/primitives/gemm.h"

namespace replk::cpu {

void matmul_forward(const MatmulGeometry& g, const Tensor& a, const Tensor& b, Tensor& y) {
  visit_real("matmul", a.dtype(), [&]<class T>(TypeTag<T>) {
    gemm(g.m, g.n, g.k, Matrix<const T>{a.data<T>(), g.k}, Matrix<const T>{b.data<T>(), g.n},
         Matrix<T>{y.data<T>(), g.n}, /*accumulate=*/false);
  });
}

void matmul_backward_a(const MatmulGeometry& g, const Tensor& b, const Tensor& dy, GradTarget da) {
  visit_real("matmul", dy.dtype(), [&]<class T>(TypeTag<T>) {
    gemm(g.m, g.k, g.n, Matrix<const T>{dy.data<T>(), g.n},
         Matrix<const T>{b.data<T>(), g.n, /*transposed=*/true}, Matrix<T>{da.tensor.data<T>(), g.k},
         da.accumulate);
  });
}

void matmul_backward_b(const MatmulGeometry& g, const Tensor& a, const Tensor& dy, GradTarget db) {
  visit_real("matmul", dy.dtype(), [&]<class T>(TypeTag<T>) {
    gemm(g.k, g.n, g.m, Matrix<const T>{a.data<T>(), g.k, /*transposed=*/true},
         Matrix<const T>{dy.data<T>(), g.n}, Matrix<T>{db.tensor.data<T>(), g.n}, db.accumulate);
  });
}

}  // namespace replk::cpu
