#include "scripts/replk/tensorboard_log.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace replk {
namespace {

constexpr std::int64_t kPointsInEpoch = 25;

}  // namespace

TensorboardLog::TensorboardLog(std::filesystem::path folder, std::int64_t steps_per_epoch,
                               std::int64_t steps_done, std::function<void(const std::string&)> warn)
    : folder_(std::move(folder)),
      every_(std::max<std::int64_t>(1, steps_per_epoch / kPointsInEpoch)),
      steps_done_(steps_done),
      warn_(std::move(warn)) {}

void TensorboardLog::add_step(std::int64_t step, const StepResult& result, double images_per_second) {
  if (step % every_ != 0) return;
  const double accuracy = static_cast<double>(result.correct) / static_cast<double>(result.images);
  write(step,
        {{"step/loss", result.loss},
         {"step/accuracy", accuracy},
         {"step/lr", result.lr},
         {"step/gradient_norm", result.gradient_norm},
         {"step/images_per_second", images_per_second}},
        false);
}

void TensorboardLog::add_epoch(const EpochMetrics& row) {
  std::vector<Scalar> scalars = {{"loss/training", row.train_loss},
                                 {"loss/validation", row.val_loss},
                                 {"loss/validation_averaged", row.val_loss_ema},
                                 {"accuracy/training", row.train_accuracy},
                                 {"accuracy/validation", row.val_accuracy},
                                 {"accuracy/validation_averaged", row.val_accuracy_ema},
                                 {"epoch/lr", row.lr},
                                 {"epoch/images_per_second", row.images_per_second},
                                 {"epoch/seconds", row.seconds}};
  std::erase_if(scalars, [](const Scalar& scalar) { return std::isnan(scalar.value); });
  write(row.step, scalars, true);
}

void TensorboardLog::write(std::int64_t step, const std::vector<Scalar>& scalars, bool sync) {
  if (failed_) return;
  try {
    if (!file_) file_.emplace(folder_, steps_done_ + 1);
    file_->add(step, scalars);
    if (sync) file_->sync();
  } catch (const FileError& error) {
    failed_ = true;
    warn_(str(error.what(), " Training goes on without writing more TensorBoard events."));
  }
}

}  // namespace replk
