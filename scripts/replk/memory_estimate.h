// What a training run or an inference takes of memory, found by a dry run of the very code that will run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/dtype.h"
#include "models/config.h"
#include "scripts/replk/train_options.h"

namespace replk {

/// Whose memory is asked for.
struct MemoryQuestion {
  RepLKNetConfig config;
  std::int64_t height = 0, width = 0;  // of the images
  Device device = {};                  // need not be there
  DType activations = DType::f32;
};

/// Bytes of one part: a stage of the network, a layer.
struct MemoryRow {
  std::string name;
  std::int64_t bytes = 0;
};

/// All in bytes, as the device's allocator counts them.
struct TrainingMemory {
  std::int64_t parameters = 0, gradients = 0, optimizer = 0, averages = 0;
  std::int64_t statistics = 0;   // of batch norms, and what else is kept from step to step
  std::int64_t batches = 0;      // images and labels: the step's, and those that wait for it
  std::int64_t activations = 0;  // kept for backward when forward is done
  std::int64_t workspace = 0;    // on top of these at the peak: gradients of activations, scratch
  std::int64_t step = 0;         // the peak of a step: the sum of all of the above
  std::int64_t setup = 0, validation = 0, saving = 0;  // peaks of what else a run does
  std::vector<MemoryRow> stages;                       // the activations, by stage
  std::vector<MemoryRow> layers;                       // what forward keeps of each layer, the largest first

  /// What the whole run needs.
  std::int64_t peak() const;
};

/// Of `replk train` with these options (batch size, parts, optimizer, averages, mixing, checkpointing) on
/// such images. Throws what the network throws of images that do not fit it.
TrainingMemory estimate_training(const MemoryQuestion& question, const TrainOptions& options);

struct InferenceMemory {
  std::int64_t parameters = 0;  // with the statistics of batch norms
  std::int64_t batches = 0;
  std::int64_t workspace = 0;  // activations and scratch
  std::int64_t peak = 0;       // the sum
};

/// Of evaluating `batch_size` images at a time.
InferenceMemory estimate_inference(const MemoryQuestion& question, std::int64_t batch_size);

}  // namespace replk
