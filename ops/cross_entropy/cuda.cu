#include "core/cuda/elementwise.cuh"
#include "core/cuda/reduce.cuh"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/primitives/softmax.cuh"

namespace replk::cuda {
namespace {

template <class T>
__device__ LogitRow<T> row_of(const CrossEntropyGeometry& g, const T* values, std::int64_t r) {
  return {values + r * g.row_stride, g.class_stride};
}

// One team per row: its normaliser, and its loss unless it is ignored. The host has not seen the labels: one
// that is no class makes the loss NaN.
template <class Members, class T>
__global__ void hard_forward_kernel(const CrossEntropyGeometry g, const T* logits, const std::int64_t* labels,
                                    Accumulator<T>* normalisers, Accumulator<T>* losses) {
  using A = Accumulator<T>;
  const std::int64_t r = thread_index() / Members::kSize;
  if (r >= g.rows) return;
  const auto x = row_of(g, logits, r);
  const auto n = softmax_normaliser<Members>(x, g.classes);
  const A smoothing = static_cast<A>(g.params.label_smoothing);
  const std::int64_t label = labels[r];
  A sum = 0;
  if (smoothing > 0) {
    for (std::int64_t k = Members::member(); k < g.classes; k += Members::kSize)
      sum += n.log_probability(x[k]);
    sum = Members::sum(sum);
  }
  if (Members::member() != 0) return;
  normalisers[r] = n.max;
  normalisers[g.rows + r] = n.log_sum;
  A loss = 0;
  if (label != g.params.ignore_index) {
    const bool is_class = 0 <= label && label < g.classes;
    loss = is_class ? (1 - smoothing) * (n.log_sum - (x[label] - n.max)) : static_cast<A>(nan(""));
    loss -= smoothing / static_cast<A>(g.classes) * sum;
  }
  losses[r] = loss;
}

// The losses of all rows as one row, and how many of them count.
template <class A>
struct MeanLoss {
  struct Sum {
    A loss;
    std::int64_t count;
    __device__ static Sum zero() { return {0, 0}; }
    __device__ void merge(const Sum& other) { loss += other.loss, count += other.count; }
  };
  static constexpr int kLanes = 1;
  const A* losses;
  const std::int64_t* labels;  // or none, and every row counts
  std::int64_t ignore_index;
  A *loss, *count;  // count may be null

  __device__ NoConstants of_row(std::int64_t) const { return {}; }
  template <int>
  __device__ void add(NoConstants, std::int64_t r, Sum& sum) const {
    sum.loss += losses[r];
    sum.count += labels && labels[r] == ignore_index ? 0 : 1;
  }
  __device__ void finish(std::int64_t, const Sum& sum) const {
    *loss = sum.loss / static_cast<A>(sum.count);
    if (count) *count = static_cast<A>(sum.count);
  }
};

// One thread per logit.
template <class T>
struct HardBackward {
  using A = Accumulator<T>;
  static constexpr int kLanes = 1;
  CrossEntropyGeometry g;
  const T* logits;
  const std::int64_t* labels;
  const A *count, *normalisers, *dy;
  Target<T> dlogits;

  template <int>
  __device__ void run(std::int64_t i) const {
    const bool class_innermost = g.class_stride == 1;
    const Division split = divide(i, class_innermost ? g.classes : g.rows);
    const std::int64_t r = class_innermost ? split.quotient : split.remainder;
    const std::int64_t k = class_innermost ? split.remainder : split.quotient;
    A gradient = 0;
    if (labels[r] != g.params.ignore_index) {
      const A smoothing = static_cast<A>(g.params.label_smoothing);
      const SoftmaxNormaliser<A> n{normalisers[r], normalisers[g.rows + r]};
      const A target = smoothing / static_cast<A>(g.classes) + (k == labels[r] ? 1 - smoothing : A{0});
      gradient = (n.probability(widen(logits[i])) - target) * (*dy / *count);
    }
    dlogits.put(i, gradient);
  }
};

template <class T>
__global__ void soft_forward_kernel(const CrossEntropyGeometry g, const T* logits, const T* targets,
                                    Accumulator<T>* normalisers, Accumulator<T>* losses) {
  using Warp = Team<kWarp>;
  const std::int64_t r = thread_index() / kWarp;
  if (r >= g.rows) return;
  const auto x = row_of(g, logits, r), t = row_of(g, targets, r);
  const auto n = softmax_normaliser<Warp>(x, g.classes);
  Accumulator<T> loss = 0;
  for (std::int64_t k = Warp::member(); k < g.classes; k += kWarp) loss -= t[k] * n.log_probability(x[k]);
  loss = Warp::sum(loss);
  if (Warp::member() != 0) return;
  normalisers[r] = n.max;
  normalisers[g.rows + r] = n.log_sum;
  losses[r] = loss;
}

template <class T>
__global__ void soft_backward_kernel(const CrossEntropyGeometry g, const T* logits, const T* targets,
                                     const Accumulator<T>* normalisers, const Accumulator<T>* dy,
                                     const Target<T> dlogits) {
  using A = Accumulator<T>;
  using Warp = Team<kWarp>;
  const std::int64_t r = thread_index() / kWarp;
  if (r >= g.rows) return;
  const auto x = row_of(g, logits, r), t = row_of(g, targets, r);
  const SoftmaxNormaliser<A> n{normalisers[r], normalisers[g.rows + r]};
  const A scale = *dy / static_cast<A>(g.rows);
  A total = 0;
  for (std::int64_t k = Warp::member(); k < g.classes; k += kWarp) total += t[k];
  total = Warp::sum(total);
  for (std::int64_t k = Warp::member(); k < g.classes; k += kWarp)
    dlogits.put(r * g.classes + k, (n.probability(x[k]) * total - t[k]) * scale);
}

}  // namespace

void cross_entropy_forward(const CrossEntropyGeometry& g, const Tensor& logits, const Tensor& labels,
                           Tensor& loss, Tensor& count, Tensor& normalisers) {
  visit_floating("cross_entropy", logits.dtype(), [&]<class T>(TypeTag<T>) {
    using A = Accumulator<T>;
    Tensor losses = Tensor::empty({g.rows}, dtype_of<A>(), logits.device());
    const std::int64_t* label = labels.data<std::int64_t>();
    const auto run = [&]<int size>(Team<size>) {
      launch("cross_entropy", team_grid<size>(g.rows), hard_forward_kernel<Team<size>, T>, g,
             logits.data<T>(), label, normalisers.data<A>(), losses.data<A>());
    };
    if (g.class_stride == 1)
      run(Team<kWarp>{});
    else
      run(Team<1>{});
    const MeanLoss<A> mean{losses.data<A>(), label, g.params.ignore_index, loss.data<A>(), count.data<A>()};
    reduce_rows("cross_entropy.mean", 1, g.rows, mean, true);
  });
}

void cross_entropy_backward(const CrossEntropyGeometry& g, const Tensor& logits, const Tensor& labels,
                            const Tensor& count, const Tensor& normalisers, const Tensor& dy,
                            GradTarget dlogits) {
  visit_floating("cross_entropy", logits.dtype(), [&]<class T>(TypeTag<T>) {
    using A = Accumulator<T>;
    const HardBackward<T> f{g,
                            logits.data<T>(),
                            labels.data<std::int64_t>(),
                            count.data<A>(),
                            normalisers.data<A>(),
                            dy.data<A>(),
                            {dlogits.tensor.data<T>(), dlogits.accumulate}};
    elementwise("cross_entropy.backward", logits.numel(), f, false);
  });
}

void cross_entropy_soft_forward(const CrossEntropyGeometry& g, const Tensor& logits, const Tensor& targets,
                                Tensor& loss, Tensor& normalisers) {
  visit_floating("cross_entropy_soft", logits.dtype(), [&]<class T>(TypeTag<T>) {
    using A = Accumulator<T>;
    Tensor losses = Tensor::empty({g.rows}, dtype_of<A>(), logits.device());
    launch("cross_entropy_soft", team_grid<kWarp>(g.rows), soft_forward_kernel<T>, g, logits.data<T>(),
           targets.data<T>(), normalisers.data<A>(), losses.data<A>());
    const MeanLoss<A> mean{losses.data<A>(), nullptr, 0, loss.data<A>(), nullptr};
    reduce_rows("cross_entropy_soft.mean", 1, g.rows, mean, true);
  });
}

void cross_entropy_soft_backward(const CrossEntropyGeometry& g, const Tensor& logits, const Tensor& targets,
                                 const Tensor& normalisers, const Tensor& dy, GradTarget dlogits) {
  visit_floating("cross_entropy_soft", logits.dtype(), [&]<class T>(TypeTag<T>) {
    using A = Accumulator<T>;
    launch("cross_entropy_soft.backward", team_grid<kWarp>(g.rows), soft_backward_kernel<T>, g,
           logits.data<T>(), targets.data<T>(), normalisers.data<A>(), dy.data<A>(),
           Target<T>{dlogits.tensor.data<T>(), dlogits.accumulate});
  });
}

}  // namespace replk::cuda
