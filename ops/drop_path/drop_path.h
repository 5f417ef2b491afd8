// drop_path: drops the whole residual branch of randomly chosen samples (stochastic depth).
#pragma once

#include <vector>

#include "core/tape.h"

namespace replk {

struct DropPathParams {
  double probability = 0;         // of dropping a sample, in [0, 1)
  bool training = true;           // evaluation is the identity
  std::uint64_t seed = 0;         // of the run
  std::uint64_t stream = 0;       // of this layer and step
  std::int64_t first_sample = 0;  // index of x's first sample in the whole batch, for batches given in parts
};

/// y[:, n] = x[:, n] * keep[n] / (1 - p), where keep[n] is 1 with probability 1 - p, else 0
///
/// x, y (C, N, H, W), f32 or f64. keep[n] is a function of (seed, stream, first_sample + n) alone, so a batch
/// in parts gives what the whole batch gives, on any number of threads. With probability 0 or in evaluation
/// it returns x itself and records nothing. Saves nothing: backward draws the same numbers again.
/// Throws Error for another rank, a probability outside [0, 1), or a negative first_sample.
/// Source: Huang et al., "Deep Networks with Stochastic Depth", 2016.
Variable drop_path(const Variable& x, DropPathParams params);

/// y = x + drop_path(branch): what closes a residual block, in one pass.
///
/// x, branch, y (C, N, H, W), f32 or f64; the rest as above, except that it is recorded in evaluation too.
/// Backward hands dy on to x without copying it. Throws Error for unequal shapes, dtypes or devices besides.
Variable drop_path_add(const Variable& x, const Variable& branch, DropPathParams params);

/// What the kernels see: for each of C channels and N samples a plane of H*W elements.
struct DropPathGeometry {
  std::int64_t channels, samples, plane;
  static DropPathGeometry of(const Tensor& x, const DropPathParams& params);
};

/// The factor of each of `samples` samples: 0 or 1 / (1 - p).
std::vector<double> drop_path_factors(std::int64_t samples, const DropPathParams& params);

namespace cpu {
/// to[:, n] = from[:, n] * factors[n]: forward, and with dy and dx backward.
void drop_path_scale(const DropPathGeometry& g, const std::vector<double>& factors, const Tensor& from,
                     GradTarget to);
/// y[:, n] = x[:, n] + branch[:, n] * factors[n]
void drop_path_add_forward(const DropPathGeometry& g, const std::vector<double>& factors, const Tensor& x,
                           const Tensor& branch, Tensor& y);
}  // namespace cpu

namespace cuda {
/// The same on the GPU, also in bf16 and f16. Draws the factors there, from the same numbers.
void drop_path_scale(const DropPathGeometry& g, const DropPathParams& params, const Tensor& from,
                     GradTarget to);
void drop_path_add_forward(const DropPathGeometry& g, const DropPathParams& params, const Tensor& x,
                           const Tensor& branch, Tensor& y);
}  // namespace cuda

}  // namespace replk
