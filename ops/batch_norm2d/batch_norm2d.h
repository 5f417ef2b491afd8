// batch_norm2d: normalises every channel over the batch and the map, then scales and shifts it.
#pragma once

#include "core/tape.h"
#include "ops/primitives/activation.h"

namespace replk {

/// How a GPU takes the sums of a channel and then its result: by two sweeps over memory, or by one, the
/// channel staying on the chip in between, where it fits. A test may force either.
enum class BatchNorm2dKernel { automatic, two_sweeps, on_chip };

struct BatchNorm2dParams {
  bool training = true;           // statistics of this batch; otherwise the running ones
  double momentum = 0.1;          // weight of this batch in the running statistics, in [0, 1]
  double eps = 1e-5;              // added to the variance, >= 0
  bool update_statistics = true;  // training only: whether the running statistics move
  Activation activation = Activation::none;
  BatchNorm2dKernel kernel = BatchNorm2dKernel::automatic;
  int blocks_per_channel = 0;  // of `on_chip`: 1, 2, 4, 8 or 16 (a cluster); 0 by itself
};

/// y[c, n, h, w] = activation((x[c, n, h, w] - mean[c]) / sqrt(var[c] + eps) * weight[c] + bias[c])
///
/// x, y (C, N, H, W); weight, bias, running_mean and running_var (C,); all of one dtype, f32 or f64. On a GPU
/// x and y may be bf16 or f16 while the others, and the statistics, are f32. Training: mean and (biased)
/// variance over N, H, W, and then, unless switched off,
///   running = (1 - momentum) running + momentum batch, where running_var takes the unbiased variance.
/// The running statistics also stay put while a checkpoint is recomputed. Evaluation: mean and variance are
/// the running ones, which backward takes for constants.
/// Saves x, weight and bias (shared) and the mean and inverse standard deviation used (2 C numbers); what
/// went into the activation is computed again. Throws Error on wrong shapes or dtypes, params out of range,
/// and in training on one value per channel, whose variance says nothing. Source: Ioffe and Szegedy 2015; the
/// semantics are PyTorch's.
Variable batch_norm2d(const Variable& x, const Variable& weight, const Variable& bias, Tensor& running_mean,
                      Tensor& running_var, BatchNorm2dParams params = {});

/// What the kernels see: C rows of `columns` = N*H*W elements.
struct BatchNorm2dGeometry {
  std::int64_t channels, columns;
  static BatchNorm2dGeometry of(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                const Tensor& running_mean, const Tensor& running_var,
                                const BatchNorm2dParams& params);
};

/// What backward has from forward.
struct BatchNorm2dSaved {
  Tensor x, weight, bias, mean, inverse_std;
};
/// Where it puts the gradients; those that are not wanted have an undefined tensor.
struct BatchNorm2dGradients {
  GradTarget x, weight, bias;
};

namespace cpu {
/// Training: statistics of each row into `mean` and `inverse_std` (C,), y from them, and the running
/// statistics moved where the params say so.
void batch_norm2d_forward_training(const BatchNorm2dGeometry& g, const Tensor& x, const Tensor& weight,
                                   const Tensor& bias, const BatchNorm2dParams& params, Tensor& mean,
                                   Tensor& inverse_std, Tensor& running_mean, Tensor& running_var, Tensor& y);
/// Evaluation: `mean` and `inverse_std` (C,) from the running statistics, y from them.
void batch_norm2d_forward_eval(const BatchNorm2dGeometry& g, const Tensor& x, const Tensor& weight,
                               const Tensor& bias, const BatchNorm2dParams& params,
                               const Tensor& running_mean, const Tensor& running_var, Tensor& mean,
                               Tensor& inverse_std, Tensor& y);
/// All three gradients. `params` says whether mean and inverse_std depend on x, and the activation.
void batch_norm2d_backward(const BatchNorm2dGeometry& g, const BatchNorm2dSaved& saved,
                           const BatchNorm2dParams& params, const Tensor& dy, BatchNorm2dGradients into);
}  // namespace cpu

namespace cuda {  // the same on the GPU, also in bf16 and f16
void batch_norm2d_forward_training(const BatchNorm2dGeometry& g, const Tensor& x, const Tensor& weight,
                                   const Tensor& bias, const BatchNorm2dParams& params, Tensor& mean,
                                   Tensor& inverse_std, Tensor& running_mean, Tensor& running_var, Tensor& y);
void batch_norm2d_forward_eval(const BatchNorm2dGeometry& g, const Tensor& x, const Tensor& weight,
                               const Tensor& bias, const BatchNorm2dParams& params,
                               const Tensor& running_mean, const Tensor& running_var, Tensor& mean,
                               Tensor& inverse_std, Tensor& y);
void batch_norm2d_backward(const BatchNorm2dGeometry& g, const BatchNorm2dSaved& saved,
                           const BatchNorm2dParams& params, const Tensor& dy, BatchNorm2dGradients into);
}  // namespace cuda

}  // namespace replk
