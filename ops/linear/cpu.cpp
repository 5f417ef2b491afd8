#include <vector>

#include "core/parallel.h"
#include "ops/linear/linear.h"
#include "ops/primitives/gemm.h"

namespace replk::cpu {

void linear_forward(const LinearGeometry& g, const Tensor& x, const Tensor& weight, const Tensor& bias,
                    Tensor& y) {
  visit_real("linear", x.dtype(), [&]<class T>(TypeTag<T>) {
    T* to = y.data<T>();
    if (bias.defined())
      for (std::int64_t n = 0; n < g.rows; ++n) std::copy_n(bias.data<T>(), g.out, to + n * g.out);
    gemm(g.rows, g.out, g.in, Matrix<const T>{x.data<T>(), g.in},
         Matrix<const T>{weight.data<T>(), g.in, /*transposed=*/true}, Matrix<T>{to, g.out},
         /*accumulate=*/bias.defined());
  });
}

void linear_backward_input(const LinearGeometry& g, const Tensor& weight, const Tensor& dy, GradTarget dx) {
  visit_real("linear", dy.dtype(), [&]<class T>(TypeTag<T>) {
    gemm(g.rows, g.in, g.out, Matrix<const T>{dy.data<T>(), g.out}, Matrix<const T>{weight.data<T>(), g.in},
         Matrix<T>{dx.tensor.data<T>(), g.in}, dx.accumulate);
  });
}

void linear_backward_weight(const LinearGeometry& g, const Tensor& x, const Tensor& dy, GradTarget dweight) {
  visit_real("linear", dy.dtype(), [&]<class T>(TypeTag<T>) {
    gemm(g.out, g.in, g.rows, Matrix<const T>{dy.data<T>(), g.out, /*transposed=*/true},
         Matrix<const T>{x.data<T>(), g.in}, Matrix<T>{dweight.tensor.data<T>(), g.in}, dweight.accumulate);
  });
}

void linear_backward_bias(const LinearGeometry& g, const Tensor& dy, GradTarget dbias) {
  constexpr std::int64_t kBlock = 64;  // rows summed on their own, so that rounding does not grow with N
  visit_real("linear", dy.dtype(), [&]<class T>(TypeTag<T>) {
    T* to = dbias.tensor.data<T>();
    if (!dbias.accumulate) std::fill_n(to, g.out, T{0});
    std::vector<T> partial(static_cast<std::size_t>(g.out));
    for (std::int64_t begin = 0; begin < g.rows; begin += kBlock) {
      std::fill(partial.begin(), partial.end(), T{0});
      for (std::int64_t n = begin; n < std::min(begin + kBlock, g.rows); ++n) {
        const T* row = dy.data<T>() + n * g.out;
        for (std::int64_t o = 0; o < g.out; ++o) partial[static_cast<std::size_t>(o)] += row[o];
      }
      for (std::int64_t o = 0; o < g.out; ++o) to[o] += partial[static_cast<std::size_t>(o)];
    }
  });
}

}  // namespace replk::cpu
