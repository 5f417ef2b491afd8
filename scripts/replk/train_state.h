// TrainState: where a run stands, to the bit.
//
// One file, last.optimizer.safetensors, holds everything a run continues from: the progress (metadata
// "state"), the optimizer's tensors ("optimizer.<what>.<parameter>"), averages ("ema.<name>") and the weights
// once more ("model.<name>"). The weights for everybody else are in last.safetensors, but resuming does not
// read that file: two files cannot be replaced in one instant, and this way a process killed between the two
// leaves a state that is whole. It costs a third more disk.
#pragma once

#include <filesystem>
#include <limits>
#include <vector>

#include "optim/ema.h"
#include "optim/optimizer.h"
#include "scripts/replk/checkpoint.h"
#include "scripts/replk/run_folder.h"

namespace replk {

struct TrainState {
  std::int64_t epoch = 0, batch = 0;  // the next to train on, both from 0; batch may be the number of batches
  std::int64_t batches = 0, images = 0;  // in an epoch: what the data must still be like
  // Sums over the epoch that is under way.
  double loss_sum = 0, seconds = 0;
  std::int64_t correct = 0, seen = 0;
  double best_accuracy = -1;  // below 0: none yet
  std::int64_t best_epoch = 0;
  double best_ema_accuracy = -1;  // of the averaged weights
  std::vector<EpochMetrics> history = {};
};

/// Replaces the file as a whole or not at all. `ema` may be null.
void save_train_state(const std::filesystem::path& path, RepLKNet& model, const Optimizer& optimizer,
                      const TrainState& state, const Ema* ema = nullptr);
/// Puts weights, averages and optimizer state back and returns the rest. Throws FileError naming the file and
/// what does not fit; then the network may have changed.
TrainState load_train_state(const std::filesystem::path& path, RepLKNet& model, Optimizer& optimizer,
                            Ema* ema = nullptr);

}  // namespace replk
