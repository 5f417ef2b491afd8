#include "scripts/replk/mistakes.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <tuple>

namespace replk {

void WorstMistakes::add(const Batch& batch, const Tensor& logits) {
  const std::int64_t classes = logits.size(1);
  for (std::int64_t n = 0; n < batch.size(); ++n) {
    const std::span<const float> row(logits.data<float>() + n * classes, static_cast<std::size_t>(classes));
    const auto best = std::max_element(row.begin(), row.end());
    const std::int64_t label = batch.labels.data<std::int64_t>()[n], predicted = best - row.begin();
    if (predicted == label) continue;
    const double largest = *best;
    double sum = 0;  // of probabilities, relative to the largest
    for (const float logit : row) sum += std::exp(static_cast<double>(logit) - largest);
    const double loss = std::log(sum) + largest - static_cast<double>(row[static_cast<std::size_t>(label)]);
    all_.push_back({.index = batch.indices[static_cast<std::size_t>(n)],
                    .label = label,
                    .predicted = predicted,
                    .probability = 1 / sum,
                    .loss = std::isnan(loss) ? std::numeric_limits<double>::infinity() : loss});
  }
}

std::vector<Mistake> WorstMistakes::worst(std::size_t count) const {
  std::vector<Mistake> sorted = all_;
  std::sort(sorted.begin(), sorted.end(), [](const Mistake& a, const Mistake& b) {
    return std::tuple(-a.loss, a.index) < std::tuple(-b.loss, b.index);
  });
  if (sorted.size() > count) sorted.resize(count);
  return sorted;
}

}  // namespace replk
