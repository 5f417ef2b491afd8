#include "optim/adamw.h"

#include <cmath>

#include "optim/for_trainable.h"

namespace replk {
namespace {

template <class T>
struct Coefficients {
  T take1, keep2, take2;  // of the two averages
  T root_scale, eps;      // sqrt(v) * root_scale is the root of the bias-corrected v
  T shrink, step_size;    // of the weight, and its step with the bias correction of m
};

// A function of its own with everything by value: inside the lambda the compiler would not vectorise it.
template <class T>
void update_piece(const Coefficients<T> c, std::int64_t count, const T* g, T* p, T* m, T* v) {
  for (std::int64_t i = 0; i < count; ++i) {
    m[i] += c.take1 * (g[i] - m[i]);
    v[i] = c.keep2 * v[i] + c.take2 * (g[i] * g[i]);
    p[i] = c.shrink * p[i] - c.step_size * (m[i] / (std::sqrt(v[i]) * c.root_scale + c.eps));
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

void AdamW::update(const FlatParameters& parameters, std::int64_t step) {
  const auto [beta1, beta2] = params_.betas;
  const double correction1 = 1 - std::pow(beta1, step), correction2 = std::sqrt(1 - std::pow(beta2, step));
  visit_real("adamw", parameters.data().dtype(), [&]<class T>(TypeTag<T>) {
    Tensor data = parameters.data();
    T* p = data.data<T>();
    const T* g = parameters.gradients().data<T>();
    T *m = exp_avg_.data<T>(), *v = exp_avg_sq_.data<T>();
    for_trainable(parameters, [&](const auto& segment, std::int64_t begin, std::int64_t end) {
      const double lr = learning_rate() * segment.lr_scale;
      const Coefficients<T> c{.take1 = static_cast<T>(1 - params_.betas[0]),
                              .keep2 = static_cast<T>(params_.betas[1]),
                              .take2 = static_cast<T>(1 - params_.betas[1]),
                              .root_scale = static_cast<T>(1 / correction2),
                              .eps = static_cast<T>(params_.eps),
                              .shrink = static_cast<T>(1 - lr * segment.weight_decay),
                              .step_size = static_cast<T>(lr / correction1)};
      update_piece(c, end - begin, g + begin, p + begin, m + begin, v + begin);
    });
  });
}

}  // namespace replk
