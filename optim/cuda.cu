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
  const SgdUpdate<T>* update;
  bool nesterov;
  const T* g;
  T *p, *b;  // b may be null

  template <int n>
  __device__ void run(std::int64_t i) const {
    if (refused(norm)) return;
    const SgdUpdate<T> u = *update;
    auto slope = load<n>(g + i), weight = load<n>(p + i);
    for (int k = 0; k < n; ++k) slope[k] += u.weight_decay * weight[k];
    if (b) {
      auto momentum = load<n>(b + i);
      for (int k = 0; k < n; ++k) {
        momentum[k] = u.keep * momentum[k] + u.take * slope[k];
        slope[k] = nesterov ? slope[k] + u.look_ahead * momentum[k] : momentum[k];
      }
      store(b + i, momentum);
    }
    for (int k = 0; k < n; ++k) weight[k] -= u.lr * slope[k];
    store(p + i, weight);
  }
};

template <class T>
struct AdamW {
  static constexpr int kLanes = kVectorLanes<T>;
  const double* norm;
  const AdamWUpdate<T>* update;
  const T* g;
  T *p, *m, *v;

  template <int n>
  __device__ void run(std::int64_t i) const {
    if (refused(norm)) return;
    const AdamWUpdate<T> u = *update;
    const auto slope = load<n>(g + i);
    auto weight = load<n>(p + i), mean = load<n>(m + i), square = load<n>(v + i);
    for (int k = 0; k < n; ++k) {
      mean[k] += u.take1 * (slope[k] - mean[k]);
      square[k] = u.keep2 * square[k] + u.take2 * (slope[k] * slope[k]);
      weight[k] = u.shrink * weight[k] - u.step_size * (mean[k] / (sqrt(square[k]) * u.root_scale + u.eps));
    }
    store(p + i, weight), store(m + i, mean), store(v + i, square);
  }
};

// Some pairs of tensors; a block takes kEmaBlock elements of one of them.
constexpr std::int64_t kEmaBlock = 1 << 13;

template <class T>
struct Ema {
  static constexpr int kMost = 64;  // what the parameters of a launch have room for
  T take;
  int pairs = 0;
  const T* data[kMost];
  T* average[kMost];
  std::int64_t count[kMost], end[kMost];  // end: of its blocks

  std::int64_t blocks() const { return pairs ? end[pairs - 1] : 0; }
  void add(const EmaPair& pair) {
    Tensor target = pair.average;
    data[pairs] = pair.data.data<T>(), average[pairs] = target.data<T>(), count[pairs] = target.numel();
    end[pairs] = blocks() + ceil_div(target.numel(), kEmaBlock);
    ++pairs;
  }
};

template <class T>
__global__ void ema_kernel(const Ema<T> ema) {
  int pair = 0;
  while (blockIdx.x >= ema.end[pair]) ++pair;
  const std::int64_t begin = (blockIdx.x - (pair ? ema.end[pair - 1] : 0)) * kEmaBlock;
  const std::int64_t end = min(begin + kEmaBlock, ema.count[pair]);
  const T* data = ema.data[pair];
  T* average = ema.average[pair];
  for (std::int64_t i = begin + threadIdx.x; i < end; i += blockDim.x)
    average[i] += ema.take * (data[i] - average[i]);
}

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

template <class Update>
const Update* numbers_of(const Tensor& update) {
  check(update.bytes() == sizeof(Update), "optimizer: ", sizeof(Update), " bytes of numbers expected, got ",
        update, ".");
  return static_cast<const Update*>(update.raw());
}

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

void sgd_update(const UpdateRange& range, const Tensor& update, bool nesterov, const Tensor& norm,
                const Tensor& gradients, Tensor data, Tensor momentum) {
  visit_real("sgd", data.dtype(), [&]<class T>(TypeTag<T>) {
    const Sgd<T> f{norm_of(norm),
                   numbers_of<SgdUpdate<T>>(update),
                   nesterov,
                   gradients.data<T>() + range.begin,
                   data.data<T>() + range.begin,
                   momentum.defined() ? momentum.data<T>() + range.begin : nullptr};
    elementwise("sgd", range.end - range.begin, f, aligned(f.g, f.p, f.b));
  });
}

void adamw_update(const UpdateRange& range, const Tensor& update, const Tensor& norm, const Tensor& gradients,
                  Tensor data, Tensor exp_avg, Tensor exp_avg_sq) {
  visit_real("adamw", data.dtype(), [&]<class T>(TypeTag<T>) {
    const AdamW<T> f{norm_of(norm),
                     numbers_of<AdamWUpdate<T>>(update),
                     gradients.data<T>() + range.begin,
                     data.data<T>() + range.begin,
                     exp_avg.data<T>() + range.begin,
                     exp_avg_sq.data<T>() + range.begin};
    elementwise("adamw", range.end - range.begin, f, aligned(f.g, f.p, f.m, f.v));
  });
}

void ema_update(double take, const std::vector<EmaPair>& pairs) {
  for (const DType dtype : {DType::f32, DType::f64})
    visit_real("ema", dtype, [&]<class T>(TypeTag<T>) {
      Ema<T> ema{};
      ema.take = static_cast<T>(take);
      const auto run = [&] {
        launch("ema", {ema.blocks(), kThreads}, ema_kernel<T>, ema);
        ema.pairs = 0;
      };
      for (const EmaPair& pair : pairs) {
        if (pair.data.dtype() != dtype) continue;
        ema.add(pair);
        if (ema.pairs == Ema<T>::kMost) run();
      }
      run();
    });
}

void swap(Tensor a, Tensor b) {
  visit_real("ema.swap", a.dtype(), [&]<class T>(TypeTag<T>) {
    const Swap<T> f{a.data<T>(), b.data<T>()};
    elementwise("ema.swap", a.numel(), f, aligned(f.a, f.b));
  });
}

}  // namespace replk::cuda
