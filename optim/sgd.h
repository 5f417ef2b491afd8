// SGD: stochastic gradient descent with momentum.
#pragma once

#include "optim/optimizer.h"
#include "optim/updates.h"

namespace replk {

/// `lr` in [0, inf), `momentum` and `dampening` in [0, 1); Nesterov needs momentum and no dampening.
struct SgdParams {
  double lr = 0.1;
  double momentum = 0;
  double dampening = 0;
  bool nesterov = false;
};

/// For each weight p with gradient g and buffer b, decay and lr_scale being its group's:
///     g' = g + weight_decay p
///     b  = g'                                     in the first step
///     b  = momentum b + (1 - dampening) g'        afterwards
///     p -= lr lr_scale (nesterov ? g' + momentum b : b)
/// Without momentum there is no buffer, and b = g'. State: "momentum.<parameter name>", "step".
/// Throws Error for values outside their ranges. Source: torch.optim.SGD.
class Sgd final : public Optimizer {
 public:
  Sgd(FlatParameters& parameters, SgdParams params);

 private:
  void update(const FlatParameters& parameters, const Tensor& norm) override;
  SgdUpdate<double> update_of(const UpdateRange& range) const;

  SgdParams params_;
  Tensor momentum_;  // undefined without momentum
};

}  // namespace replk
