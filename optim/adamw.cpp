#include "optim/adamw.h"

#include <cmath>

#include "core/dispatch.h"
#include "optim/for_trainable.h"
#include "optim/updates.h"

namespace replk {
namespace {

// A function of its own with everything by value: inside the lambda the compiler would not vectorise it.
template <class T>
void update_piece(const AdamWUpdate<double>& u, std::int64_t count, const T* g, T* p, T* m, T* v) {
  const T take1 = static_cast<T>(u.take1), keep2 = static_cast<T>(u.keep2), take2 = static_cast<T>(u.take2);
  const T root_scale = static_cast<T>(u.root_scale), eps = static_cast<T>(u.eps);
  const T shrink = static_cast<T>(u.shrink), step_size = static_cast<T>(u.step_size);
  for (std::int64_t i = 0; i < count; ++i) {
    m[i] += take1 * (g[i] - m[i]);
    v[i] = keep2 * v[i] + take2 * (g[i] * g[i]);
    p[i] = shrink * p[i] - step_size * (m[i] / (std::sqrt(v[i]) * root_scale + eps));
  }
}

}  // namespace

AdamW::AdamW(FlatParameters& parameters, AdamWParams params)
    : Optimizer("adamw", parameters, params.lr), params_(params) {
  for (const double beta : params.betas)
    check(beta >= 0 && beta < 1, "adamw: betas in [0, 1) expected, got ", beta, ".");
  check(std::isfinite(params.eps) && params.eps > 0, "adamw: eps > 0 expected, got ", params.eps, ".");
  exp_avg_ = add_buffer("exp_avg");
  exp_avg_sq_ = add_buffer("exp_avg_sq");
}

AdamWUpdate<double> AdamW::update_of(const UpdateRange& range) const {
  const auto [beta1, beta2] = params_.betas;
  const auto step = static_cast<double>(steps());
  const double correction1 = 1 - std::pow(beta1, step), correction2 = std::sqrt(1 - std::pow(beta2, step));
  const double lr = learning_rate() * range.lr_scale;
  return {.take1 = 1 - beta1,
          .keep2 = beta2,
          .take2 = 1 - beta2,
          .root_scale = 1 / correction2,
          .step_size = lr / correction1,
          .eps = params_.eps,
          .shrink = 1 - lr * range.weight_decay * weight_decay_scale()};
}

void AdamW::update(const FlatParameters& parameters, const Tensor& norm) {
  Tensor data = parameters.data();
  const Tensor& gradients = parameters.gradients();
  const auto on_cpu = [&] {
    visit_real("adamw", data.dtype(), [&]<class T>(TypeTag<T>) {
      const T* g = gradients.data<T>();
      T *p = data.data<T>(), *m = exp_avg_.data<T>(), *v = exp_avg_sq_.data<T>();
      for_trainable(parameters, [&](const UpdateRange& range, std::int64_t begin, std::int64_t end) {
        update_piece(update_of(range), end - begin, g + begin, p + begin, m + begin, v + begin);
      });
    });
  };
  const auto on_gpu = [&] {
    const auto ranges = parameters.trainable_ranges();
    const auto updates = updates_on_device<AdamWUpdate<double>>(
        ranges, [this](const UpdateRange& range) { return update_of(range); });
    for (std::size_t i = 0; i < ranges.size(); ++i)
      cuda::adamw_update(ranges[i], updates[i], norm, gradients, data, exp_avg_, exp_avg_sq_);
  };
  dispatch("adamw", data.device(), on_cpu, on_gpu);
}

}  // namespace replk
