// The passes over the flat buffers on a GPU: every element by itself, at the speed of memory.
#include "core/cuda/elementwise.cuh"
#include "core/cuda/reduce.cuh"
#include "optim/updates.h"

namespace replk::cuda {
namespace {

__device__ bool refused(const double* norm) { return norm && !isfinite(*norm); }

template <class T>
struct L2Norm {
  using Sum = Sums<double, 1>;
  static constexpr int kLanes = kVectorLanes<T>;
  const T* values;
  double* norm;

  __device__ NoConstants of_row(std::int64_t) const { return {}; }
  template <int n>
  __device__ void add(NoConstants, std::int64_t i, Sum& sum) const {
    const auto x = load<n>(values + i);
    for (int k = 0; k < n; ++k) sum[0] += static_cast<double>(x[k]) * static_cast<double>(x[k]);
  }
  __device__ void finish(std::int64_t, const Sum& sum) const { *norm = sqrt(sum[0]); }
};

template <class T>
struct Clip {
  static constexpr int kLanes = kVectorLanes<T>;
  const double* norm;
  double max_norm;
  T* values;

  template <int n>
  __device__ void run(std::int64_t i) const {
    const double scale = max_norm / (*norm + 1e-6);
    if (!(scale < 1) || refused(norm)) return;
    auto x = load<n>(values + i);
    for (int k = 0; k < n; ++k) x[k] *= static_cast<T>(scale);
    store(values + i, x);
  }
};

template <class T>
struct Sgd {
  static constexpr int kLanes = kVectorLanes<T>;
  const double* norm;
  T lr, weight_decay, keep, take, look_ahead;
  bool nesterov;
  const T* g;
  T *p, *b;  // b may be null

  template <int n>
  __device__ void run(std::int64_t i) const {
    if (refused(norm)) return;
    auto slope = load<n>(g + i), weight = load<n>(p + i);
    for (int k = 0; k < n; ++k) slope[k] += weight_decay * weight[k];
    if (b) {
      auto momentum = load<n>(b + i);
      for (int k = 0; k < n; ++k) {
        momentum[k] = keep * momentum[k] + take * slope[k];
        slope[k] = nesterov ? slope[k] + look_ahead * momentum[k] : momentum[k];
      }
      store(b + i, momentum);
    }
    for (int k = 0; k < n; ++k) weight[k] -= lr * slope[k];
    store(p + i, weight);
  }
};

template <class T>
struct AdamW {
  static constexpr int kLanes = kVectorLanes<T>;
  const double* norm;
  T take1, keep2, take2, root_scale, step_size, eps, shrink;
  const T* g;
  T *p, *m, *v;

  template <int n>
  __device__ void run(std::int64_t i) const {
    if (refused(norm)) return;
    const auto slope = load<n>(g + i);
    auto weight = load<n>(p + i), mean = load<n>(m + i), square = load<n>(v + i);
    for (int k = 0; k < n; ++k) {
      mean[k] += take1 * (slope[k] - mean[k]);
      square[k] = keep2 * square[k] + take2 * (slope[k] * slope[k]);
      weight[k] = shrink * weight[k] - step_size * (mean[k] / (sqrt(square[k]) * root_scale + eps));
    }
    store(p + i, weight), store(m + i, mean), store(v + i, square);
  }
};

template <class T>
struct Ema {
  static constexpr int kLanes = kVectorLanes<T>;
  T take;
  const T* p;
  T* average;

  template <int n>
  __device__ void run(std::int64_t i) const {
    const auto weight = load<n>(p + i);
    auto mean = load<n>(average + i);
    for (int k = 0; k < n; ++k) mean[k] += take * (weight[k] - mean[k]);
    store(average + i, mean);
  }
};

template <class T>
struct Swap {
  static constexpr int kLanes = kVectorLanes<T>;
  T *a, *b;

  template <int n>
  __device__ void run(std::int64_t i) const {
    const auto first = load_raw<n>(a + i), second = load_raw<n>(b + i);
    store_raw(a + i, second), store_raw(b + i, first);
  }
};

const double* norm_of(const Tensor& norm) { return norm.defined() ? norm.data<double>() : nullptr; }

}  // namespace

void l2_norm(const Tensor& values, Tensor& norm) {
  visit_real("grad_norm", values.dtype(), [&]<class T>(TypeTag<T>) {
    const L2Norm<T> f{values.data<T>(), norm.data<double>()};
    reduce_rows("grad_norm", 1, values.numel(), f, aligned(f.values));
  });
}

void clip(Tensor& values, const Tensor& norm, double max_norm) {
  visit_real("clip_grad_norm", values.dtype(), [&]<class T>(TypeTag<T>) {
    const Clip<T> f{norm.data<double>(), max_norm, values.data<T>()};
    elementwise("clip_grad_norm", values.numel(), f, aligned(f.values));
  });
}

void sgd_update(const UpdateRange& range, const SgdUpdate& update, const Tensor& norm,
                const Tensor& gradients, Tensor data, Tensor momentum) {
  visit_real("sgd", data.dtype(), [&]<class T>(TypeTag<T>) {
    const Sgd<T> f{norm_of(norm),
                   static_cast<T>(update.lr),
                   static_cast<T>(update.weight_decay),
                   static_cast<T>(update.keep),
                   static_cast<T>(update.take),
                   static_cast<T>(update.look_ahead),
                   update.nesterov,
                   gradients.data<T>() + range.begin,
                   data.data<T>() + range.begin,
                   momentum.defined() ? momentum.data<T>() + range.begin : nullptr};
    elementwise("sgd", range.end - range.begin, f, aligned(f.g, f.p, f.b));
  });
}

void adamw_update(const UpdateRange& range, const AdamWUpdate& update, const Tensor& norm,
                  const Tensor& gradients, Tensor data, Tensor exp_avg, Tensor exp_avg_sq) {
  visit_real("adamw", data.dtype(), [&]<class T>(TypeTag<T>) {
    const AdamW<T> f{norm_of(norm),
                     static_cast<T>(update.take1),
                     static_cast<T>(update.keep2),
                     static_cast<T>(update.take2),
                     static_cast<T>(update.root_scale),
                     static_cast<T>(update.step_size),
                     static_cast<T>(update.eps),
                     static_cast<T>(update.shrink),
                     gradients.data<T>() + range.begin,
                     data.data<T>() + range.begin,
                     exp_avg.data<T>() + range.begin,
                     exp_avg_sq.data<T>() + range.begin};
    elementwise("adamw", range.end - range.begin, f, aligned(f.g, f.p, f.m, f.v));
  });
}

void ema_update(double take, const Tensor& data, Tensor average) {
  visit_real("ema", data.dtype(), [&]<class T>(TypeTag<T>) {
    const Ema<T> f{static_cast<T>(take), data.data<T>(), average.data<T>()};
    elementwise("ema", data.numel(), f, aligned(f.p, f.average));
  });
}

void swap(Tensor a, Tensor b) {
  visit_real("ema.swap", a.dtype(), [&]<class T>(TypeTag<T>) {
    const Swap<T> f{a.data<T>(), b.data<T>()};
    elementwise("ema.swap", a.numel(), f, aligned(f.a, f.b));
  });
}

}  // namespace replk::cuda
