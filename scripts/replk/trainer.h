// Trainer: one training step, and what to say when it went wrong.
#pragma once

#include <memory>
#include <string>

#include "core/error.h"
#include "data/loader.h"
#include "optim/flat_parameters.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"
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
  std::int64_t correct = 0, images = 0;
  double lr = 0, gradient_norm = 0;
};

/// Optimizer and schedule of a network that is trained in f32. The network must outlive it.
class Trainer {
 public:
  /// `batches`: steps in an epoch, by which the schedule's epochs become steps.
  Trainer(RepLKNet& model, const TrainOptions& options, const ModelCard& card, std::int64_t batches);

  /// Bytes -> normalised activations -> logits -> loss -> gradients -> clipped -> new weights.
  /// Depends on the batch, the weights, the optimizer's state and (seed, step) alone. Throws NonFiniteError,
  /// naming the first layer or gradient that is not finite, before the optimizer has changed any weight.
  StepResult step(const Batch& batch);

  Optimizer& optimizer() { return *optimizer_; }
  const Schedule& schedule() const { return schedule_; }
  /// Throws NonFiniteError naming the first parameter or buffer that is not finite: such weights are not
  /// saved over good ones.
  void check_weights();
  /// Throws NonFiniteError with the layer that explains why the loss of validation images is not finite.
  [[noreturn]] void explain_validation(std::shared_ptr<const Dataset> images, double loss);

 private:
  [[noreturn]] void explain_loss(const Tensor& images, double loss);
  [[noreturn]] void explain_gradient(double norm);

  RepLKNet& model_;
  TrainOptions options_;
  ModelCard card_;
  FlatParameters parameters_;
  std::unique_ptr<Optimizer> optimizer_;
  Schedule schedule_;
};

}  // namespace replk
