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

Trainer::Trainer(RepLKNet& model, const TrainOptions& options, const ModelCard& card, std::int64_t batches,
                 DType activations)
    : model_(model),
      options_(options),
      card_(card),
      activations_(activations),
      parameters_(split_decay_groups(model.parameters(), options.weight_decay)),
      optimizer_(make_optimizer(parameters_, options)),
      schedule_(make_schedule(options, batches)) {}

void Trainer::begin(std::int64_t step) {
  model_.train();
  model_.set_step(static_cast<std::uint64_t>(options_.seed), static_cast<std::uint64_t>(step));
  parameters_.zero_grad();
}

Tensor Trainer::normalized(const Tensor& images) const {
  return normalize_images(images, card_.mean, card_.std, activations_);
}

void Trainer::start(DeviceBatch batch) {
  Step step{.number = optimizer_->steps(),
            .batch = std::move(batch),
            .loss = {},
            .logits = {},
            .norm = {},
            .result = {.images = 0, .lr = schedule_.learning_rate(optimizer_->steps())}};
  step.result.images = step.batch.host.size();
  begin(step.number);
  {
    Tape tape;
    const Variable logits = model_(normalized(step.batch.images));
    const Variable loss =
        cross_entropy(logits, step.batch.labels, {.label_smoothing = options_.label_smoothing});
    step.logits = Download(cast(logits.data(), DType::f32));
    step.loss = Download(loss.data());
    tape.backward(loss);
  }
  const ProfileScope scope("optimizer");
  const Tensor norm =
      options_.clip_grad > 0 ? parameters_.clip_grad_norm(options_.clip_grad) : parameters_.grad_norm();
  step.norm = Download(norm);
  optimizer_->set_learning_rate(step.result.lr);
  optimizer_->step(norm);
  in_flight_.push_back(std::move(step));
}

StepResult Trainer::finish() {
  check(!in_flight_.empty(), "Trainer::finish: a step that was started expected, there is none.");
  Step step = std::move(in_flight_.front());
  in_flight_.pop_front();
  const double loss = step.loss.get().item(), norm = step.norm.get().item();
  if (!std::isfinite(loss) || !std::isfinite(norm)) explain(step, loss, norm);
  step.result.loss = loss;
  step.result.gradient_norm = norm;
  step.result.correct = count_correct(step.logits.get(), step.batch.host.labels);
  return step.result;
}

StepResult Trainer::step(const Batch& batch) {
  start(on_device(batch, model_.device()));
  return finish();
}

void Trainer::check_weights() {
  for (const NamedTensor& entry : model_.state())
    if (is_floating(entry.tensor.dtype()) && !all_finite(entry.tensor))
      throw NonFiniteError(
          str("after step ", optimizer_->steps(), ": ", entry.name, " is not finite.", kAdvice));
}

// The same step again, this time watched, so that steps that go well pay nothing. Backward runs from the head
// to the stem, so the last parameter is where a gradient went wrong first.
void Trainer::explain(const Step& step, double loss, double norm) {
  const std::string where = str("step ", step.number + 1, ": ");
  begin(step.number);
  const Tensor images = normalized(step.batch.images);
  const std::string layer = first_non_finite_layer(model_, images);
  if (!std::isfinite(loss))
    throw NonFiniteError(str(where, "the loss is ", plain(loss), ": ",
                             layer.empty() ? "all layers are finite, the loss itself is not" : layer, ".",
                             kAdvice));
  Tape tape;
  tape.backward(
      cross_entropy(model_(images), step.batch.labels, {.label_smoothing = options_.label_smoothing}));
  std::string found = "their sum of squares overflows";
  for (const Parameter* parameter : std::views::reverse(model_.parameters())) {
    if (!parameter->grad_ready || all_finite(parameter->grad)) continue;
    found = str("the first one in backward that is not finite is that of ", parameter->name);
    break;
  }
  throw NonFiniteError(str(where, "the norm of the gradients is ", plain(norm), ": ", found, ".", kAdvice));
}

void Trainer::explain_validation(std::shared_ptr<const Dataset> images, double loss) {
  model_.eval();
  Loader loader(std::move(images), evaluation_pipeline(card_), {.batch_size = options_.batch_size});
  loader.start(0);
  std::string layer;
  while (layer.empty()) {
    const auto batch = loader.next();
    if (!batch) break;
    layer = first_non_finite_layer(model_, normalized(batch->images.to(model_.device())));
  }
  throw NonFiniteError(str("after step ", optimizer_->steps(), ": the validation loss is ", plain(loss),
                           layer.empty() ? "" : ": ", layer, ".", kAdvice));
}

}  // namespace replk
