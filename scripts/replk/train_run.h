// TrainRun: the loop over epochs and steps, and what it leaves in the run folder.
#pragma once

#include <optional>
#include <string>

#include "scripts/replk/interrupt.h"
#include "scripts/replk/progress.h"
#include "scripts/replk/run_folder.h"
#include "scripts/replk/tensorboard_log.h"
#include "scripts/replk/train_parts.h"
#include "scripts/replk/train_state.h"

namespace replk {

/// Trains epoch after epoch, from the beginning or from where a run was left. An epoch's files are written in
/// the order best checkpoint, the epoch's own, last checkpoint, state, metrics; only then checkpoints of
/// epochs that are no longer among the best are removed. The state decides: a run that was killed in between
/// goes on from it and writes all the others again, with the same bits.
class TrainRun {
 public:
  TrainRun(TrainParts& parts, RunFolder folder, Progress& progress);

  /// Takes over what the folder's state file says; without one starts from the beginning.
  void resume();
  /// Runs to the last epoch, or the one of --stop-after, or until --patience is over, and returns an exit
  /// code: all is well, or interrupted and saved. NonFiniteError, OutOfMemory and FileError say where the
  /// last good checkpoint is.
  int run();

 private:
  bool train_epoch();
  void count(const StepResult& result);
  bool finish_epoch();
  bool out_of_patience() const;
  Evaluation validate_network();
  bool validate_average(EpochMetrics& row);
  void save_best(const char* file);
  void save_epoch();
  void remove_surplus_epochs();
  void save_picture(const Batch& batch);
  EpochMetrics epoch_metrics() const;
  void save();
  void write_metrics();
  int interrupted();

  void show(const StepResult& result, double images_per_second);
  void report(const EpochMetrics& row, bool best);
  void report_end();
  void warn(const std::string& message);
  std::int64_t steps_done() const { return state_.epoch * state_.batches + state_.batch; }
  double train_accuracy() const;
  std::string title() const;
  std::string resume_command() const;
  std::string what_is_saved() const;

  TrainParts& parts_;
  RunFolder folder_;
  Progress& progress_;
  Interrupt interrupt_;
  TrainState state_;
  std::optional<RemainingTime> remaining_;
  std::optional<TensorboardLog> tensorboard_;
  std::optional<Evaluation> evaluation_;  // the last one
  bool saved_ = false;
};

}  // namespace replk
