// AdamW: Adam with decoupled weight decay, the optimizer RepLKNet is trained with.
#pragma once

#include <array>

#include "optim/optimizer.h"
#include "optim/updates.h"

namespace replk {

/// `lr` in [0, inf), `betas` in [0, 1), `eps` in (0, inf): with 0 a weight that never had a gradient
/// would become NaN.
struct AdamWParams {
  double lr = 1e-3;
  std::array<double, 2> betas = {0.9, 0.999};
  double eps = 1e-8;
};

/// For each weight p with gradient g in step t = 1, 2, ..., with lr' = lr lr_scale, weight_decay and lr_scale
/// being its group's:
///     p -= lr' weight_decay p
///     m  = beta1 m + (1 - beta1) g
///     v  = beta2 v + (1 - beta2) g^2
///     p -= lr' (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
/// State: "exp_avg.<parameter name>" (m), "exp_avg_sq.<parameter name>" (v), "step" (t).
/// Throws Error for values outside their ranges. Source: Loshchilov and Hutter, "Decoupled Weight Decay
/// Regularization", ICLR 2019, as torch.optim.AdamW computes it.
class AdamW final : public Optimizer {
 public:
  AdamW(FlatParameters& parameters, AdamWParams params);

 private:
  void update(const FlatParameters& parameters, const Tensor& norm) override;
  AdamWUpdate<double> update_of(const UpdateRange& range) const;

  AdamWParams params_;
  Tensor exp_avg_, exp_avg_sq_;
};

}  // namespace replk
