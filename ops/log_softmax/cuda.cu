#include "ops/log_softmax/log_softmax.h"
#include "ops/primitives/softmax.cuh"

namespace replk::cuda {
namespace {

using Warp = Team<kWarp>;

// One warp per row.
template <class T>
__global__ void forward_kernel(std::int64_t rows, std::int64_t classes, const T* x, T* y) {
  const std::int64_t row = thread_index() / kWarp;
  if (row >= rows) return;  // whole warps leave
  const LogitRow<T> from{x + row * classes, 1};
  const auto normaliser = softmax_normaliser<Warp>(from, classes);
  for (std::int64_t k = Warp::member(); k < classes; k += kWarp)
    y[row * classes + k] = narrow<T>(normaliser.log_probability(from[k]));
}

template <class T>
__global__ void backward_kernel(std::int64_t rows, std::int64_t classes, const T* y, const T* dy,
                                const Target<T> dx) {
  const std::int64_t row = thread_index() / kWarp;
  if (row >= rows) return;
  const LogitRow<T> log_p{y + row * classes, 1}, gradient{dy + row * classes, 1};
  Accumulator<T> sum = 0;
  for (std::int64_t k = Warp::member(); k < classes; k += kWarp) sum += gradient[k];
  sum = Warp::sum(sum);
  for (std::int64_t k = Warp::member(); k < classes; k += kWarp)
    dx.put(row * classes + k, gradient[k] - exp(log_p[k]) * sum);
}

}  // namespace

void log_softmax_forward(const Tensor& x, Tensor& y) {
  visit_floating("log_softmax", x.dtype(), [&]<class T>(TypeTag<T>) {
    launch("log_softmax", team_grid<kWarp>(x.size(0)), forward_kernel<T>, x.size(0), x.size(1), x.data<T>(),
           y.data<T>());
  });
}

void log_softmax_backward(const Tensor& y, const Tensor& dy, GradTarget dx) {
  visit_floating("log_softmax", dy.dtype(), [&]<class T>(TypeTag<T>) {
    launch("log_softmax.backward", team_grid<kWarp>(y.size(0)), backward_kernel<T>, y.size(0), y.size(1),
           y.data<T>(), dy.data<T>(), Target<T>{dx.tensor.data<T>(), dx.accumulate});
  });
}

}  // namespace replk::cuda
