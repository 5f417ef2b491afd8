// TensorboardLog: the numbers of a training run as event files in its folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "io/event_file.h"
#include "scripts/replk/run_folder.h"
#include "scripts/replk/trainer.h"

namespace replk {

/// Tags, over the number of steps done:
///     loss/, accuracy/  training, validation, validation_averaged    every epoch
///     epoch/            lr, images_per_second, seconds               every epoch
///     step/             loss, accuracy, lr, gradient_norm, images_per_second   about 25 times an epoch
/// Every process begins a file of its own with its first number, and so ends what older files say of the
/// steps that it computes again. Losing these files costs no training: when one cannot be written, `warn` is
/// told once and nothing is written any more.
class TensorboardLog {
 public:
  /// `steps_per_epoch` decides which steps are written; `steps_done` were trained before.
  TensorboardLog(std::filesystem::path folder, std::int64_t steps_per_epoch, std::int64_t steps_done,
                 std::function<void(const std::string&)> warn);

  /// `step`: how many are done, this one included.
  void add_step(std::int64_t step, const StepResult& result, double images_per_second);
  /// Numbers that are NaN are left out. All is on the disk when this returns.
  void add_epoch(const EpochMetrics& row);

 private:
  void write(std::int64_t step, const std::vector<Scalar>& scalars, bool sync);

  std::filesystem::path folder_;
  std::int64_t every_, steps_done_;
  std::function<void(const std::string&)> warn_;
  std::optional<EventFile> file_;
  bool failed_ = false;
};

}  // namespace replk
