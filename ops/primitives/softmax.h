// What softmax, log-softmax and cross entropy share: the normaliser of one row of logits. No autograd.
#pragma once

#include <cmath>

#include "ops/primitives/sum.h"

namespace replk::cpu {

/// log softmax(x)[k] = (x[k] - max) - log_sum. The two are kept apart because their sum, rounded at the
/// magnitude of the logits, would lose the digits that matter when logits are large.
template <class T>
struct SoftmaxNormaliser {
  T max, log_sum;
  T log_probability(T logit) const { return (logit - max) - log_sum; }
  T probability(T logit) const { return std::exp(log_probability(logit)); }
};

/// Of the logits x[0], x[stride], ..., x[(classes - 1) * stride], at least one. NaN where a logit is NaN or
/// +infinity, as in PyTorch.
template <class T>
SoftmaxNormaliser<T> softmax_normaliser(const T* x, std::int64_t classes, std::int64_t stride) {
  T max = x[0];
  for (std::int64_t k = 1; k < classes; ++k) max = std::max(max, x[k * stride]);
  const T sum = pairwise_sum<T>(0, classes, [&](std::int64_t k) { return std::exp(x[k * stride] - max); });
  return {max, std::log(sum)};
}

}  // namespace replk::cpu
