// One step of each optimizer as numbers, and the passes over the flat buffers on a GPU. Used inside optim/
// only.
#pragma once

#include "core/tensor.h"
#include "optim/flat_parameters.h"

namespace replk {

/// slope = g + weight_decay p;  b = keep b + take slope;  p -= lr (nesterov ? slope + look_ahead b : b)
struct SgdUpdate {
  double lr, weight_decay, keep, take, look_ahead;
  bool nesterov;
};

/// m += take1 (g - m);  v = keep2 v + take2 g^2;  p = shrink p - step_size m / (sqrt(v) root_scale + eps)
struct AdamWUpdate {
  double take1, keep2, take2;
  double root_scale, step_size;  // with the bias corrections of v and of m
  double eps, shrink;
};

namespace cuda {

// In f32 and f64. None of these waits for the device. Those with a `norm`, a scalar in f64, read it there and
// change nothing when it is not finite; it may be undefined.

/// norm = sqrt(sum of values^2), the same bits on every run.
void l2_norm(const Tensor& values, Tensor& norm);
/// values *= max_norm / (norm + 1e-6) where that is below 1.
void clip(Tensor& values, const Tensor& norm, double max_norm);

/// `momentum` is undefined without momentum: then b is the slope.
void sgd_update(const UpdateRange& range, const SgdUpdate& update, const Tensor& norm,
                const Tensor& gradients, Tensor data, Tensor momentum);
void adamw_update(const UpdateRange& range, const AdamWUpdate& update, const Tensor& norm,
                  const Tensor& gradients, Tensor data, Tensor exp_avg, Tensor exp_avg_sq);

/// average += take (data - average)
void ema_update(double take, const Tensor& data, Tensor average);
void swap(Tensor a, Tensor b);

}  // namespace cuda
}  // namespace replk
