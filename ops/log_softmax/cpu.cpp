#include "ops/log_softmax/log_softmax.h"
#include "ops/primitives/softmax.h"

namespace replk::cpu {
namespace {

constexpr std::int64_t kWorkPerThread = 1 << 12;  // logits; each costs an exponential

template <class F>
void for_rows(const Tensor& x, const F& f) {
  parallel_for(x.size(0), kWorkPerThread / x.size(1) + 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) f(n);
  });
}

}  // namespace

void log_softmax_forward(const Tensor& x, Tensor& y) {
  visit_real("log_softmax", x.dtype(), [&]<class T>(TypeTag<T>) {
    const std::int64_t classes = x.size(1);
    const T* all = x.data<T>();
    T* out = y.data<T>();
    for_rows(x, [&](std::int64_t n) {
      const T* from = all + n * classes;
      T* to = out + n * classes;
      const auto normaliser = softmax_normaliser(from, classes, 1);
      for (std::int64_t k = 0; k < classes; ++k) to[k] = normaliser.log_probability(from[k]);
    });
  });
}

void log_softmax_backward(const Tensor& y, const Tensor& dy, GradTarget dx) {
  visit_real("log_softmax", dy.dtype(), [&]<class T>(TypeTag<T>) {
    const std::int64_t classes = y.size(1);
    const T *values = y.data<T>(), *gradients = dy.data<T>();
    T* out = dx.tensor.data<T>();
    for_rows(y, [&](std::int64_t n) {
      const T *log_p = values + n * classes, *from = gradients + n * classes;
      T* to = out + n * classes;
      const T sum = pairwise_sum<T>(0, classes, [&](std::int64_t k) { return from[k]; });
      for (std::int64_t k = 0; k < classes; ++k) {
        const T gradient = from[k] - std::exp(log_p[k]) * sum;
        to[k] = dx.accumulate ? to[k] + gradient : gradient;
      }
    });
  });
}

}  // namespace replk::cpu
