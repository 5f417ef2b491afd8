// The wrong answers of a network, the worst ones first.
#pragma once

#include <cstdint>
#include <vector>

#include "data/loader.h"

namespace replk {

struct Mistake {
  std::int64_t index = 0;  // of the sample in its data set
  std::int64_t label = 0, predicted = 0;
  double probability = 0;  // of the predicted class
  double loss = 0;         // cross entropy, -log of the true class's probability
};

/// Collects them batch by batch (EvaluateOptions::answered).
class WorstMistakes {
 public:
  /// logits f32 (N, classes), on the CPU. The answer is the largest one, the first of equal ones.
  void add(const Batch& batch, const Tensor& logits);
  /// The `count` of the highest loss, falling; equal ones by index. A loss that is NaN counts as infinite.
  std::vector<Mistake> worst(std::size_t count) const;

 private:
  std::vector<Mistake> all_;
};

}  // namespace replk
