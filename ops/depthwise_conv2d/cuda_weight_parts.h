// The weight gradient of one call, summed by several blocks to a channel.
#pragma once

#include "core/tape.h"
#include "core/tensor.h"

namespace replk::cuda {

/// Blocks leave sums [part][channel][tap] at data(); add() adds the parts up, in order: no atomics, the same
/// bits on every run. With one part and nothing to add to, that is dweight itself.
class WeightParts {
 public:
  WeightParts(int parts, GradTarget dweight);
  float* data();
  void add();

 private:
  int parts_;
  GradTarget dweight_;
  Tensor partial_;
};

}  // namespace replk::cuda
