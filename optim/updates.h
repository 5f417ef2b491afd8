// One step of each optimizer as numbers of one type, and the passes over the flat buffers on a GPU. Used
// inside optim/ only.
#pragma once

#include <vector>

#include "core/tensor.h"
#include "optim/flat_parameters.h"

namespace replk {

/// slope = g + weight_decay p;  b = keep b + take slope;  p -= lr (nesterov ? slope + look_ahead b : b)
template <class T>
struct SgdUpdate {
  T lr, weight_decay, keep, take, look_ahead;
};

/// m += take1 (g - m);  v = keep2 v + take2 g^2;  p = shrink p - step_size m / (sqrt(v) root_scale + eps)
template <class T>
struct AdamWUpdate {
  T take1, keep2, take2;
  T root_scale, step_size;  // with the bias corrections of v and of m
  T eps, shrink;
};

namespace cuda {

// In f32 and f64. None of these waits for the device. Those with a `norm`, a scalar in f64, read it there and
// change nothing when it is not finite; it may be undefined.

/// norm = sqrt(sum of values^2), the same bits on every run.
void l2_norm(const Tensor& values, Tensor& norm);
/// values *= max_norm / (norm + 1e-6) where that is below 1.
void clip(Tensor& values, const Tensor& norm, double max_norm);

/// `momentum` is undefined without momentum: then b is the slope.
/// `update` holds the numbers of one SgdUpdate or AdamWUpdate in the dtype of `data`.
void sgd_update(const UpdateRange& range, const Tensor& update, bool nesterov, const Tensor& norm,
                const Tensor& gradients, Tensor data, Tensor momentum);
void adamw_update(const UpdateRange& range, const Tensor& update, const Tensor& norm, const Tensor& gradients,
                  Tensor data, Tensor exp_avg, Tensor exp_avg_sq);

/// A tensor and its average.
struct EmaPair {
  Tensor data, average;
};
/// average += take (data - average) for each pair, many small ones in one launch.
void ema_update(double take, const std::vector<EmaPair>& pairs);
void swap(Tensor a, Tensor b);

}  // namespace cuda
}  // namespace replk
