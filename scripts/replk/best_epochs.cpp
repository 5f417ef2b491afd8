#include "scripts/replk/best_epochs.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace replk {

std::int64_t epochs_without_gain(const std::vector<EpochMetrics>& history) {
  double best = -1, best_averaged = -1;
  std::int64_t epochs = 0;
  for (const EpochMetrics& row : history) {
    ++epochs;
    if (row.val_accuracy > best) {
      best = row.val_accuracy;
      epochs = 0;
    }
    if (row.val_accuracy_ema > best_averaged) {
      best_averaged = row.val_accuracy_ema;
      epochs = 0;
    }
  }
  return epochs;
}

std::vector<std::int64_t> best_epochs(const std::vector<EpochMetrics>& history, std::int64_t count) {
  const auto accuracy = [](const EpochMetrics& row) {
    return std::isnan(row.val_accuracy) ? row.train_accuracy : row.val_accuracy;
  };
  std::vector<EpochMetrics> rows = history;
  std::stable_sort(rows.begin(), rows.end(),
                   [&](const EpochMetrics& a, const EpochMetrics& b) { return accuracy(a) > accuracy(b); });
  std::vector<std::int64_t> epochs;
  for (const EpochMetrics& row : rows)
    if (std::cmp_less(epochs.size(), count)) epochs.push_back(row.epoch);
  std::sort(epochs.begin(), epochs.end());
  return epochs;
}

}  // namespace replk
