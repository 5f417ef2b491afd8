#include "ops/matmul/matmul.h"
#include "ops/primitives/gemm_cuda.h"

namespace replk::cuda {

void matmul_forward(const MatmulGeometry& g, const Tensor& a, const Tensor& b, Tensor& y) {
  visit_floating("matmul", a.dtype(), [&]<class T>(TypeTag<T>) {
    gemm("matmul", g.m, g.n, g.k, Matrix<const T>{a.data<T>(), g.k}, Matrix<const T>{b.data<T>(), g.n},
         Matrix<T>{y.data<T>(), g.n}, /*accumulate=*/false);
  });
}

void matmul_backward_a(const MatmulGeometry& g, const Tensor& b, const Tensor& dy, GradTarget da) {
  visit_floating("matmul", dy.dtype(), [&]<class T>(TypeTag<T>) {
    gemm("matmul.backward_a", g.m, g.k, g.n, Matrix<const T>{dy.data<T>(), g.n},
         Matrix<const T>{b.data<T>(), g.n, /*transposed=*/true}, Matrix<T>{da.tensor.data<T>(), g.k},
         da.accumulate);
  });
}

void matmul_backward_b(const MatmulGeometry& g, const Tensor& a, const Tensor& dy, GradTarget db) {
  visit_floating("matmul", dy.dtype(), [&]<class T>(TypeTag<T>) {
    gemm("matmul.backward_b", g.k, g.n, g.m, Matrix<const T>{a.data<T>(), g.k, /*transposed=*/true},
         Matrix<const T>{dy.data<T>(), g.n}, Matrix<T>{db.tensor.data<T>(), g.n}, db.accumulate);
  });
}

}  // namespace replk::cuda
