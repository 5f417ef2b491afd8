// A gradient as the rest of core hands it over, in the form kernels write to.
#pragma once

#include "core/cuda/vector.cuh"
#include "core/tape.h"

namespace replk::cuda {

/// Without data where the gradient is not wanted.
template <class T>
Target<T> optional_target(GradTarget& target) {
  return {target.tensor.defined() ? target.tensor.data<T>() : nullptr, target.accumulate};
}

}  // namespace replk::cuda
