// What to do when there is not enough memory: the settings that would fit.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "scripts/replk/memory_estimate.h"

namespace replk {

/// A change of options with which a run takes less memory.
struct MemorySetting {
  std::string flags;  // "--accumulate 4"
  std::string note;   // what it costs: "the same batch in 4 parts"
  TrainOptions options;
  std::int64_t bytes = 0;  // the run's peak, estimated
};

/// At most three of them that fit into `capacity` bytes, in the order in which they change the training
/// least: parts of a batch, checkpointing, bf16 on a GPU, smaller images, a smaller batch. `question` and
/// `options` are those of the run that did not fit.
std::vector<MemorySetting> settings_that_fit(const MemoryQuestion& question, const TrainOptions& options,
                                             std::int64_t capacity);

/// Sentences, each with a space in front: what the run needs, its largest layers, what would fit.
std::string training_memory_advice(const MemoryQuestion& question, const TrainOptions& options,
                                   std::int64_t capacity);
/// The same for evaluating with --batch-size.
std::string inference_memory_advice(const MemoryQuestion& question, std::int64_t batch_size,
                                    std::int64_t capacity);

}  // namespace replk
