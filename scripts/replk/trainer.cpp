#include "scripts/replk/trainer.h"

#include <algorithm>
#include <cmath>
#include <ranges>
#include <utility>

#include "core/profile.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/normalize_images/normalize_images.h"
#include "ops/primitives/elementwise.h"
#include "optim/adamw.h"
#include "optim/sgd.h"
#include "scripts/replk/evaluate.h"

namespace replk {
namespace {

std::unique_ptr<Optimizer> make_optimizer(FlatParameters& parameters, const TrainOptions& o) {
  if (o.optimizer == "adamw") return std::make_unique<AdamW>(parameters, AdamWParams{.lr = o.lr});
  return std::make_unique<Sgd>(parameters,
                               SgdParams{.lr = o.lr, .momentum = o.momentum, .nesterov = o.nesterov});
}

Schedule make_schedule(const TrainOptions& o, std::int64_t batches) {
  const auto steps = [&](double epochs) {
    return static_cast<std::int64_t>(std::llround(epochs * static_cast<double>(batches)));
  };
  ScheduleParams params{.kind = schedule_kind(o.schedule),
                        .lr = o.lr,
                        .min_lr = std::min(o.min_lr, o.lr),
                        .warmup_steps = steps(o.warmup_epochs),
                        .total_steps = o.epochs * batches,
                        .gamma = o.step_gamma};
  if (params.kind == ScheduleParams::Kind::step)
    params.every = std::max<std::int64_t>(1, steps(o.step_epochs));
  return Schedule(params);
}

// "stages.0.blocks.0.pw1.conv (Conv2d 40 -> 40, 1x1)"
std::string name_of(const Module& module) {
  const std::string path = module.path().empty() ? "the network" : module.path();
  return module.describe().empty() ? path : str(path, " (", module.describe(), ")");
}

// NaN has a sign that says nothing.
std::string plain(double value) { return std::isnan(value) ? "nan" : str(value); }

constexpr const char* kAdvice = " Try a lower --lr, a longer --warmup-epochs or a smaller --clip-grad.";

}  // namespace

std::string first_non_finite_layer(RepLKNet& model, const Tensor& images) {
  std::string found;
  // Innermost layers report first, in the order in which they ran.
  const ModuleObserver observer([&](Module& module, const Variable& in, const Variable& out) {
    if (!found.empty() || all_finite(out.data())) return;
    found = str("the first layer whose output is not finite is ", name_of(module),
                all_finite(in.data()) ? "" : ", and its input is not finite either");
    for (const Parameter* parameter : module.parameters())
      if (!all_finite(parameter->data)) found += str("; ", parameter->name, " is not finite already");
  });
  model(images);
  return found;
}

Trainer::Trainer(RepLKNet& model, const TrainOptions& options, const ModelCard& card, std::int64_t batches)
    : model_(model),
      options_(options),
      card_(card),
      parameters_(split_decay_groups(model.parameters(), options.weight_decay)),
      optimizer_(make_optimizer(parameters_, options)),
      schedule_(make_schedule(options, batches)) {}

StepResult Trainer::step(const Batch& batch) {
  const std::int64_t step = optimizer_->steps();
  model_.train();
  model_.set_step(static_cast<std::uint64_t>(options_.seed), static_cast<std::uint64_t>(step));
  const Tensor images = normalize_images(batch.images, card_.mean, card_.std);
  parameters_.zero_grad();
  StepResult result{.images = batch.size(), .lr = schedule_.learning_rate(step)};
  {
    Tape tape;
    const Variable logits = model_(images);
    const Variable loss = cross_entropy(logits, batch.labels, {.label_smoothing = options_.label_smoothing});
    result.loss = loss.data().item();
    if (!std::isfinite(result.loss)) explain_loss(images, result.loss);
    result.correct = count_correct(logits.data(), batch.labels);
    tape.backward(loss);
  }
  const ProfileScope scope("optimizer");
  result.gradient_norm =
      options_.clip_grad > 0 ? parameters_.clip_grad_norm(options_.clip_grad) : parameters_.grad_norm();
  if (!std::isfinite(result.gradient_norm)) explain_gradient(result.gradient_norm);
  optimizer_->set_learning_rate(result.lr);
  optimizer_->step();
  return result;
}

void Trainer::check_weights() {
  for (const NamedTensor& entry : model_.state())
    if (is_floating(entry.tensor.dtype()) && !all_finite(entry.tensor))
      throw NonFiniteError(
          str("after step ", optimizer_->steps(), ": ", entry.name, " is not finite.", kAdvice));
}

// The same forward pass again, this time watched, so that steps that go well pay nothing.
void Trainer::explain_loss(const Tensor& images, double loss) {
  const std::string layer = first_non_finite_layer(model_, images);
  throw NonFiniteError(str("step ", optimizer_->steps() + 1, ": the loss is ", plain(loss), ": ",
                           layer.empty() ? "all layers are finite, the loss itself is not" : layer, ".",
                           kAdvice));
}

void Trainer::explain_validation(std::shared_ptr<const Dataset> images, double loss) {
  model_.eval();
  Loader loader(std::move(images), evaluation_pipeline(card_), {.batch_size = options_.batch_size});
  loader.start(0);
  std::string layer;
  while (layer.empty()) {
    const auto batch = loader.next();
    if (!batch) break;
    layer = first_non_finite_layer(model_, normalize_images(batch->images, card_.mean, card_.std));
  }
  throw NonFiniteError(str("after step ", optimizer_->steps(), ": the validation loss is ", plain(loss),
                           layer.empty() ? "" : ": ", layer, ".", kAdvice));
}

// Backward runs from the head to the stem, so the last parameter is where a gradient went wrong first.
void Trainer::explain_gradient(double norm) {
  std::string found = "their sum of squares overflows";
  for (const Parameter* parameter : std::views::reverse(model_.parameters())) {
    if (!parameter->grad.defined() || all_finite(parameter->grad)) continue;
    found = str("the first one in backward that is not finite is that of ", parameter->name);
    break;
  }
  throw NonFiniteError(str("step ", optimizer_->steps() + 1, ": the norm of the gradients is ", plain(norm),
                           ": ", found, ".", kAdvice));
}

}  // namespace replk
