// A small set of parameters as a network has them, for the tests of optimizers.
#pragma once

#include <memory>
#include <vector>

#include "core/tape.h"
#include "tests/support/check_op.h"
#include "tests/support/run_op.h"

namespace replk::test {

/// Parameters of odd sizes (so that segments are padded), one of them longer than a block of any kernel.
struct Parameters {
  std::vector<std::unique_ptr<Parameter>> owned;
  std::vector<Parameter*> all;

  explicit Parameters(DType dtype = DType::f64, std::uint64_t seed = 1) {
    add("stem.weight", random_tensor({3, 1, 5, 3}, seed, -1, 1, dtype));
    add("stem.bias", random_tensor({3}, seed + 1, -1, 1, dtype));
    add("head.weight", random_tensor({217, 401}, seed + 2, -1, 1, dtype));
    add("head.scale", random_tensor({1}, seed + 3, -1, 1, dtype));
  }

  void add(const std::string& name, Tensor data) {
    owned.push_back(std::make_unique<Parameter>(name, std::move(data)));
    all.push_back(owned.back().get());
  }

  Parameter& operator[](const std::string& name) {
    for (Parameter* parameter : all)
      if (parameter->name == name) return *parameter;
    throw Error("no parameter " + name);
  }

  /// Gives every parameter a gradient, as backward would: through grad_target.
  void give_gradients(std::uint64_t seed, double magnitude = 1) {
    for (Parameter* parameter : all)
      if (parameter->trainable) {
        GradTarget target = parameter->grad_target();
        target.tensor.copy_from(
            random_tensor(parameter->data.shape(), ++seed, -magnitude, magnitude, parameter->data.dtype()));
      }
  }

  std::vector<Values> values() const {
    std::vector<Values> result;
    for (const Parameter* parameter : all) result.push_back(parameter->data.to_vector());
    return result;
  }
};

}  // namespace replk::test
