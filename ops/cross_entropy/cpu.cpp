#include "ops/cross_entropy/cross_entropy.h"
#include "ops/primitives/softmax.h"

namespace replk::cpu {
namespace {

constexpr std::int64_t kWorkPerThread = 1 << 12;  // logits; each costs an exponential

// Calls f(r) for every row, several rows to a thread.
template <class F>
void for_rows(const CrossEntropyGeometry& g, const F& f) {
  parallel_for(g.rows, kWorkPerThread / g.classes + 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) f(r);
  });
}

// Element k of a row of logits, or of what is laid out like them.
template <class T>
class Row {
 public:
  Row(const CrossEntropyGeometry& g, T* values, std::int64_t r)
      : first_(values + r * g.row_stride), stride_(g.class_stride) {}
  T& operator[](std::int64_t k) const { return first_[k * stride_]; }
  T* first() const { return first_; }

 private:
  T* first_;
  std::int64_t stride_;
};

// Computes and stores the normaliser of row r.
template <class T>
SoftmaxNormaliser<T> normalise(const CrossEntropyGeometry& g, Row<const T> x, std::int64_t r, T* stored) {
  const auto n = softmax_normaliser(x.first(), g.classes, g.class_stride);
  stored[r] = n.max;
  stored[g.rows + r] = n.log_sum;
  return n;
}

template <class T>
void store(T& place, T value, bool accumulate) {
  place = accumulate ? place + value : value;
}

}  // namespace

void cross_entropy_forward(const CrossEntropyGeometry& g, const Tensor& logits, const Tensor& labels,
                           Tensor& loss, Tensor& count, Tensor& normalisers) {
  visit_real("cross_entropy", logits.dtype(), [&]<class T>(TypeTag<T>) {
    const T* from = logits.data<T>();
    const std::int64_t* label = labels.data<std::int64_t>();
    T* stored = normalisers.data<T>();
    const T smoothing = static_cast<T>(g.params.label_smoothing);
    std::vector<T> losses(static_cast<std::size_t>(g.rows));
    for_rows(g, [&](std::int64_t r) {
      if (label[r] == g.params.ignore_index) return;
      const Row<const T> x(g, from, r);
      const auto n = normalise(g, x, r, stored);
      T row_loss = (1 - smoothing) * (n.log_sum - (x[label[r]] - n.max));
      if (smoothing > 0) {
        const T sum = pairwise_sum<T>(0, g.classes, [&](std::int64_t k) { return n.log_probability(x[k]); });
        row_loss -= smoothing / static_cast<T>(g.classes) * sum;
      }
      losses[static_cast<std::size_t>(r)] = row_loss;
    });
    const auto counted = g.rows - std::count(label, label + g.rows, g.params.ignore_index);
    *count.data<T>() = static_cast<T>(counted);
    *loss.data<T>() =
        threaded_sum<T>(g.rows, [&](std::int64_t r) { return losses[static_cast<std::size_t>(r)]; }) /
        static_cast<T>(counted);
  });
}

void cross_entropy_backward(const CrossEntropyGeometry& g, const Tensor& logits, const Tensor& labels,
                            const Tensor& count, const Tensor& normalisers, const Tensor& dy,
                            GradTarget dlogits) {
  visit_real("cross_entropy", logits.dtype(), [&]<class T>(TypeTag<T>) {
    const T *from = logits.data<T>(), *stored = normalisers.data<T>();
    const std::int64_t* label = labels.data<std::int64_t>();
    T* to = dlogits.tensor.data<T>();
    const T scale = *dy.data<T>() / *count.data<T>();  // not used when count is zero
    const T smoothing = static_cast<T>(g.params.label_smoothing);
    const T spread = smoothing / static_cast<T>(g.classes);
    for_rows(g, [&](std::int64_t r) {
      const Row<const T> x(g, from, r);
      const Row<T> dx(g, to, r);
      if (label[r] == g.params.ignore_index) {
        for (std::int64_t k = 0; k < g.classes && !dlogits.accumulate; ++k) dx[k] = 0;
        return;
      }
      const SoftmaxNormaliser<T> n{stored[r], stored[g.rows + r]};
      for (std::int64_t k = 0; k < g.classes; ++k) {
        const T target = spread + (k == label[r] ? 1 - smoothing : T{0});
        store(dx[k], (n.probability(x[k]) - target) * scale, dlogits.accumulate);
      }
    });
  });
}

void cross_entropy_soft_forward(const CrossEntropyGeometry& g, const Tensor& logits, const Tensor& targets,
                                Tensor& loss, Tensor& normalisers) {
  visit_real("cross_entropy_soft", logits.dtype(), [&]<class T>(TypeTag<T>) {
    const T *from = logits.data<T>(), *target = targets.data<T>();
    T* stored = normalisers.data<T>();
    std::vector<T> losses(static_cast<std::size_t>(g.rows));
    for_rows(g, [&](std::int64_t r) {
      const Row<const T> x(g, from, r), t(g, target, r);
      const auto n = normalise(g, x, r, stored);
      losses[static_cast<std::size_t>(r)] =
          pairwise_sum<T>(0, g.classes, [&](std::int64_t k) { return -t[k] * n.log_probability(x[k]); });
    });
    *loss.data<T>() =
        threaded_sum<T>(g.rows, [&](std::int64_t r) { return losses[static_cast<std::size_t>(r)]; }) /
        static_cast<T>(g.rows);
  });
}

void cross_entropy_soft_backward(const CrossEntropyGeometry& g, const Tensor& logits, const Tensor& targets,
                                 const Tensor& normalisers, const Tensor& dy, GradTarget dlogits) {
  visit_real("cross_entropy_soft", logits.dtype(), [&]<class T>(TypeTag<T>) {
    const T *from = logits.data<T>(), *target = targets.data<T>(), *stored = normalisers.data<T>();
    T* to = dlogits.tensor.data<T>();
    const T scale = *dy.data<T>() / static_cast<T>(g.rows);
    for_rows(g, [&](std::int64_t r) {
      const Row<const T> x(g, from, r), t(g, target, r);
      const Row<T> dx(g, to, r);
      const SoftmaxNormaliser<T> n{stored[r], stored[g.rows + r]};
      const T total = pairwise_sum<T>(0, g.classes, [&](std::int64_t k) { return t[k]; });
      for (std::int64_t k = 0; k < g.classes; ++k)
        store(dx[k], (n.probability(x[k]) * total - t[k]) * scale, dlogits.accumulate);
    });
  });
}

}  // namespace replk::cpu
