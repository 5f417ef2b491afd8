// drop_path: drops the whole residual branch of randomly chosen samples (stochastic depth).
#pragma once

#include "core/tape.h"

namespace replk {

struct DropPathParams {
  double probability = 0;         // of dropping a sample, in [0, 1)
  bool training = true;           // evaluation is the identity
  std::uint64_t seed = 0;         // of the run
  std::uint64_t stream = 0;       // of this layer and step
  std::int64_t first_sample = 0;  // index of x's first sample in the whole batch, for batches given in parts
};

/// The factor of each of `samples` samples: 0 with probability p, else 1 / (1 - p). f64 (N) on the CPU;
/// undefined where nothing is dropped, with probability 0 and in evaluation. Factor n is a function of
/// (seed, stream, first_sample + n) alone, so a batch in parts gets what the whole batch gets.
/// Throws Error for a probability outside [0, 1) and a negative first_sample.
Tensor drop_path_factors(std::int64_t samples, const DropPathParams& params);

/// y[:, n] = x[:, n] * factors[n]
///
/// x, y (C, N, H, W), f32 or f64; on a GPU also bf16 and f16. factors (N), f64, on x's device, from
/// drop_path_factors; without them it returns x itself and records nothing.
/// Throws Error for other shapes, dtypes or devices.
/// Source: Huang et al., "Deep Networks with Stochastic Depth", 2016.
Variable drop_path(const Variable& x, const Tensor& factors);
/// With factors drawn here.
Variable drop_path(const Variable& x, const DropPathParams& params);

/// y = x + drop_path(branch): what closes a residual block, in one pass.
///
/// x, branch, y (C, N, H, W), f32 or f64; the rest as above, except that it is recorded without factors too.
/// Backward hands dy on to x without copying it. Throws Error for unequal shapes, dtypes or devices besides.
Variable drop_path_add(const Variable& x, const Variable& branch, const Tensor& factors);
Variable drop_path_add(const Variable& x, const Variable& branch, const DropPathParams& params);

/// What the kernels see: for each of C channels and N samples a plane of H*W elements.
struct DropPathGeometry {
  std::int64_t channels, samples, plane;
  static DropPathGeometry of(const Tensor& x, const Tensor& factors);
};

namespace cpu {
/// to[:, n] = from[:, n] * factors[n]: forward, and with dy and dx backward.
void drop_path_scale(const DropPathGeometry& g, const Tensor& factors, const Tensor& from, GradTarget to);
/// y[:, n] = x[:, n] + branch[:, n] * factors[n], or y = x + branch without factors
void drop_path_add_forward(const DropPathGeometry& g, const Tensor& factors, const Tensor& x,
                           const Tensor& branch, Tensor& y);
}  // namespace cpu

namespace cuda {
/// The same on the GPU, also in bf16 and f16.
void drop_path_scale(const DropPathGeometry& g, const Tensor& factors, const Tensor& from, GradTarget to);
void drop_path_add_forward(const DropPathGeometry& g, const Tensor& factors, const Tensor& x,
                           const Tensor& branch, Tensor& y);
}  // namespace cuda

}  // namespace replk
