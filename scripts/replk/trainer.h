// Trainer: one training step, and what to say when it went wrong.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/download.h"
#include "core/error.h"
#include "core/replay.h"
#include "optim/ema.h"
#include "optim/flat_parameters.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"
#include "scripts/replk/batch_feed.h"
#include "scripts/replk/checkpoint.h"
#include "scripts/replk/train_options.h"

namespace replk {

/// The loss, a gradient or a weight is infinite or NaN. Says where that began.
class NonFiniteError : public Error {
 public:
  using Error::Error;
};

/// Runs a forward pass in the network's present mode and names the first layer whose output is not finite;
/// empty when all are. images: normalised activations.
std::string first_non_finite_layer(RepLKNet& model, const Tensor& images);

struct StepResult {
  double loss = 0;  // mean over the batch, with label smoothing
  // Answers that are the label; of mixed images the label with the greater share.
  std::int64_t correct = 0, images = 0;
  double lr = 0, gradient_norm = 0;
};

/// Optimizer and schedule of a network whose weights are f32. The network must outlive it and be where it is
/// to be trained already.
class Trainer {
 public:
  /// `batches`: steps in an epoch, by which the schedule's epochs become steps. `activations`: the dtype in
  /// which images enter the network, and so of everything but weights, statistics and the loss.
  Trainer(RepLKNet& model, const TrainOptions& options, const ModelCard& card, std::int64_t batches,
          DType activations = DType::f32);

  /// Bytes -> normalised activations -> logits -> loss -> gradients -> clipped -> new weights. With
  /// --accumulate the batch is taken in parts whose gradients are added up, weighted by their images: the
  /// same as in one piece but for rounding and batch norms, which see a part at a time.
  /// Depends on the batch, the weights, the optimizer's state and (seed, step) alone. On a GPU it returns
  /// when everything is launched: finish tells what came of it. From the second on, steps of one size are a
  /// recording launched as a whole (Replay), unless --cuda-graph off. `lr`: in place of the schedule's.
  void start(DeviceBatch batch, std::optional<double> lr = {});
  /// Steps that were started and not finished.
  std::size_t in_flight() const { return in_flight_.size(); }
  /// Waits for the first of them. Throws NonFiniteError, naming the first layer or gradient that is not
  /// finite; such a step has changed neither weights nor the optimizer's buffers.
  StepResult finish();
  /// Both, for a batch on the CPU.
  StepResult step(const Batch& batch, std::optional<double> lr = {});

  /// Why steps on a GPU are not recorded although they could be; empty where they are (Replay::why_not).
  const std::string& why_not_recorded() const { return replay_.why_not(); }

  Optimizer& optimizer() { return *optimizer_; }
  /// The average of the weights and of the statistics of batch norms; null without --ema.
  Ema* ema() { return ema_ ? &*ema_ : nullptr; }
  const Schedule& schedule() const { return schedule_; }
  /// Throws NonFiniteError naming the first parameter or buffer that is not finite: such weights are not
  /// saved over good ones.
  void check_weights();
  /// Throws NonFiniteError with the layer that explains why the loss of validation images is not finite.
  [[noreturn]] void explain_validation(std::shared_ptr<const Dataset> images, double loss);

 private:
  /// Images [begin, end) of a batch: all of them, or those that are computed at once.
  struct Part {
    std::int64_t begin, end;
    Download loss = {}, logits = {};
  };
  // What of a batch is on the device.
  struct Inputs {
    Tensor images, labels, targets;
  };
  struct Step {
    std::int64_t number;  // from 0
    DeviceBatch batch;
    std::vector<Part> parts;
    Download norm;
    StepResult result;
  };
  std::vector<Part> parts_of(const DeviceBatch& batch) const;
  void begin(std::int64_t step, const Part& part);
  std::vector<Tensor> launch(std::int64_t step, const Inputs& batch, const std::vector<Part>& parts);
  std::pair<Tensor, Tensor> forward_and_backward(const Inputs& batch, const Part& part);
  Variable loss_of(const Variable& logits, const Inputs& batch, const Part& part) const;
  Tensor normalized(const Tensor& images) const;
  [[noreturn]] void explain(Step& step, double loss, double norm);

  RepLKNet& model_;
  TrainOptions options_;
  ModelCard card_;
  DType activations_;
  FlatParameters parameters_;
  std::unique_ptr<Optimizer> optimizer_;
  std::optional<Ema> ema_;
  Schedule schedule_;
  std::int64_t total_steps_;
  Replay replay_;
  std::deque<Step> in_flight_;
};

}  // namespace replk
