// TrainParts: everything a run is made of, whether it is a real one or a trial.
#pragma once

#include <string>
#include <vector>

#include "scripts/replk/compute.h"
#include "scripts/replk/train_data.h"
#include "scripts/replk/trainer.h"

namespace replk {

/// The network for these options and images. Throws UsageError when --model-config does not fit them.
RepLKNetConfig network_for(const TrainOptions& options, const ModelCard& card);

struct TrainParts {
  TrainOptions options;
  Compute compute;
  TrainData data;
  RepLKNet model;
  Loader loader;                         // of training images, shuffled
  std::vector<std::string> start_notes;  // what --finetune found
  Trainer trainer;

  /// Opens the data and builds the rest around them.
  explicit TrainParts(const TrainOptions& options);
  /// Lines for the network and the data, the optimizer and the schedule, the kernels of depth-wise layers.
  std::string describe();

 private:
  TrainParts(const TrainOptions& o, TrainData d);
};

}  // namespace replk
