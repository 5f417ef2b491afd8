#include "optim/adamw.h"

#include <cmath>

#include "optim/for_trainable.h"

namespace replk {

AdamW::AdamW(FlatParameters& parameters, AdamWParams params)
    : Optimizer("adamw", parameters, params.lr), params_(params) {
  for (const double beta : params.betas)
    check(beta >= 0 && beta < 1, "adamw: betas in [0, 1) expected, got ", beta, ".");
  check(std::isfinite(params.eps) && params.eps > 0, "adamw: eps > 0 expected, got ", params.eps, ".");
  exp_avg_ = add_buffer("exp_avg");
  exp_avg_sq_ = add_buffer("exp_avg_sq");
}

void AdamW::update(const FlatParameters& parameters, std::int64_t step) {
  const auto [beta1, beta2] = params_.betas;
  const double correction1 = 1 - std::pow(beta1, step);
  const double correction2 = std::sqrt(1 - std::pow(beta2, step));
  visit_real("adamw", parameters.data().dtype(), [&]<class T>(TypeTag<T>) {
    Tensor data = parameters.data();
    T* p = data.data<T>();
    const T* g = parameters.gradients().data<T>();
    T *m = exp_avg_.data<T>(), *v = exp_avg_sq_.data<T>();
    const T take1 = static_cast<T>(1 - params_.betas[0]), take2 = static_cast<T>(1 - params_.betas[1]);
    const T keep2 = static_cast<T>(params_.betas[1]), eps = static_cast<T>(params_.eps);
    const T scale2 = static_cast<T>(1 / correction2);
    for_trainable(parameters, [&](const auto& segment, std::int64_t begin, std::int64_t end) {
      const double lr = learning_rate() * segment.lr_scale;
      const T shrink = static_cast<T>(1 - lr * segment.weight_decay);
      const T step_size = static_cast<T>(lr / correction1);
      for (std::int64_t i = begin; i < end; ++i) {
        m[i] += take1 * (g[i] - m[i]);
        v[i] = keep2 * v[i] + take2 * (g[i] * g[i]);
        p[i] = shrink * p[i] - step_size * (m[i] / (std::sqrt(v[i]) * scale2 + eps));
      }
    });
  });
}

}  // namespace replk
