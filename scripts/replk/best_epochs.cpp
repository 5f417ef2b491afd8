#include "scripts/replk/best_epochs.h"

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

}  // namespace replk
