// Which epochs of a run were its best: when to stop early, which checkpoints to keep.
#pragma once

#include <cstdint>
#include <vector>

#include "scripts/replk/run_folder.h"

namespace replk {

/// Epochs since the validation accuracy, of the weights or of their average, was last better than in all
/// epochs before; 0 for an empty history. An equal accuracy is no better one.
std::int64_t epochs_without_gain(const std::vector<EpochMetrics>& history);

/// The `count` epochs with the highest validation accuracy (without validation: training accuracy), in rising
/// order; of equal ones the earlier. All of them where there are no more.
std::vector<std::int64_t> best_epochs(const std::vector<EpochMetrics>& history, std::int64_t count);

}  // namespace replk
