#include "scripts/replk/trainer.h"

#include <algorithm>
#include <cmath>
#include <ranges>
#include <set>
#include <utility>

#include "core/profile.h"
#include "models/depth.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/normalize_images/normalize_images.h"
#include "ops/primitives/elementwise.h"
#include "optim/adamw.h"
#include "optim/sgd.h"
#include "scripts/replk/evaluate.h"

namespace replk {
namespace {

std::unique_ptr<Optimizer> make_optimizer(FlatParameters& parameters, const TrainOptions& o) {
  if (o.optimizer == "adamw")
    return std::make_unique<AdamW>(
        parameters, AdamWParams{.lr = o.lr, .betas = {o.betas[0], o.betas[1]}, .eps = o.opt_eps});
  return std::make_unique<Sgd>(parameters,
                               SgdParams{.lr = o.lr, .momentum = o.momentum, .nesterov = o.nesterov});
}

std::vector<ParameterGroup> make_groups(RepLKNet& model, const TrainOptions& o) {
  if (o.layer_decay == 1) return split_decay_groups(model.parameters(), o.weight_decay);
  const RepLKNetConfig& config = model.config();
  return layer_decay_groups(model.parameters(), o.weight_decay, o.layer_decay, depth_groups(config),
                            [&](const std::string& name) { return depth_group(config, name); });
}

// The statistics of batch norms: whatever of the state is no parameter and is averaged.
NamedBuffers statistics_of(RepLKNet& model) {
  std::set<std::string> parameters;
  for (const Parameter* parameter : model.parameters()) parameters.insert(parameter->name);
  NamedBuffers buffers;
  for (const NamedTensor& entry : model.state())
    if (is_floating(entry.tensor.dtype()) && !parameters.contains(entry.name))
      buffers.emplace_back(entry.name, entry.tensor);
  return buffers;
}

Schedule make_schedule(const TrainOptions& o, std::int64_t batches) {
  const auto steps = [&](double epochs) {
    return static_cast<std::int64_t>(std::llround(epochs * static_cast<double>(batches)));
  };
  const double scale = learning_rate_scale(o);
  ScheduleParams params{.kind = schedule_kind(o.schedule),
                        .lr = scale * o.lr,
                        .min_lr = scale * std::min(o.min_lr, o.lr),
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
      parameters_(make_groups(model, options)),
      optimizer_(make_optimizer(parameters_, options)),
      schedule_(make_schedule(options, batches)),
      total_steps_(options.epochs * batches),
      replay_(options.cuda_graph == "on") {
  if (options.ema > 0) ema_.emplace(parameters_, options.ema, statistics_of(model));
}

std::vector<Trainer::Part> Trainer::parts_of(const DeviceBatch& batch) const {
  const std::int64_t images = batch.host.size(),
                     size = (images + options_.accumulate - 1) / options_.accumulate;
  std::vector<Part> parts;
  for (std::int64_t begin = 0; begin < images; begin += size)
    parts.push_back({.begin = begin, .end = std::min(begin + size, images)});
  return parts;
}

void Trainer::begin(std::int64_t step, const Part& part) {
  model_.train();
  model_.set_step(static_cast<std::uint64_t>(options_.seed), static_cast<std::uint64_t>(step), part.begin);
  if (part.begin == 0) parameters_.zero_grad();
}

Variable Trainer::loss_of(const Variable& logits, const Inputs& batch, const Part& part) const {
  if (!batch.targets.defined())
    return cross_entropy(logits, batch.labels.slice(part.begin, part.end),
                         {.label_smoothing = options_.label_smoothing});
  return cross_entropy_soft(logits, cast(batch.targets.slice(part.begin, part.end), logits.data().dtype()));
}

// Loss and logits.
std::pair<Tensor, Tensor> Trainer::forward_and_backward(const Inputs& batch, const Part& part) {
  Tape tape;
  const Variable logits = model_(normalized(batch.images.slice(part.begin, part.end)));
  const Variable loss = loss_of(logits, batch, part);
  const double share = static_cast<double>(part.end - part.begin) / static_cast<double>(batch.images.size(0));
  tape.backward(loss, Tensor::full({}, share, loss.data().dtype(), loss.data().device()));
  return {loss.data(), cast(logits.data(), DType::f32)};
}

Tensor Trainer::normalized(const Tensor& images) const {
  return normalize_images(images, card_.mean, card_.std, activations_);
}

// All that a step computes: the norm of the gradients, then loss and logits of each part. It may be recorded.
std::vector<Tensor> Trainer::launch(std::int64_t step, const Inputs& batch, const std::vector<Part>& parts) {
  std::vector<Tensor> results(1);
  for (const Part& part : parts) {
    begin(step, part);
    const auto [loss, logits] = forward_and_backward(batch, part);
    results.insert(results.end(), {loss, logits});
  }
  const ProfileScope scope("optimizer");
  results[0] =
      options_.clip_grad > 0 ? parameters_.clip_grad_norm(options_.clip_grad) : parameters_.grad_norm();
  optimizer_->step(results[0]);
  if (ema_) ema_->update();
  return results;
}

void Trainer::start(DeviceBatch batch, std::optional<double> lr) {
  Step step{.number = optimizer_->steps(),
            .batch = std::move(batch),
            .parts = {},
            .norm = {},
            .result = {.images = 0, .lr = lr ? *lr : schedule_.learning_rate(optimizer_->steps())}};
  step.result.images = step.batch.host.size();
  step.parts = parts_of(step.batch);
  optimizer_->set_learning_rate(step.result.lr);
  if (options_.weight_decay_end) {
    const double done = static_cast<double>(step.number) / static_cast<double>(total_steps_);
    const double decay = cosine_between(options_.weight_decay, *options_.weight_decay_end, done);
    optimizer_->set_weight_decay_scale(decay / options_.weight_decay);
  }
  // A recorded step asks for the random numbers of the step that is set now.
  model_.set_step(static_cast<std::uint64_t>(options_.seed), static_cast<std::uint64_t>(step.number));
  const std::vector<Tensor> results = replay_.run(
      {step.batch.images, step.batch.labels, step.batch.targets}, [&](const std::vector<Tensor>& inputs) {
        return launch(step.number, {inputs[0], inputs[1], inputs[2]}, step.parts);
      });
  step.norm = Download(results[0]);
  for (std::size_t i = 0; i < step.parts.size(); ++i) {
    step.parts[i].loss = Download(results[1 + 2 * i]);
    step.parts[i].logits = Download(results[2 + 2 * i]);
  }
  in_flight_.push_back(std::move(step));
}

StepResult Trainer::finish() {
  check(!in_flight_.empty(), "Trainer::finish: a step that was started expected, there is none.");
  Step step = std::move(in_flight_.front());
  in_flight_.pop_front();
  double loss = 0;
  for (Part& part : step.parts) {
    const auto images = static_cast<double>(part.end - part.begin);
    const double share = images / static_cast<double>(step.result.images);
    loss += share * part.loss.get().item();
    const Tensor labels = step.batch.host.labels.slice(part.begin, part.end);
    step.result.correct += count_correct(part.logits.get(), labels);
  }
  const double norm = step.norm.get().item();
  if (!std::isfinite(loss) || !std::isfinite(norm)) explain(step, loss, norm);
  step.result.loss = loss;
  step.result.gradient_norm = norm;
  return step.result;
}

StepResult Trainer::step(const Batch& batch, std::optional<double> lr) {
  start(on_device(batch, model_.device()), lr);
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
void Trainer::explain(Step& step, double loss, double norm) {
  const std::string where = str("step ", step.number + 1, ": ");
  std::string layer;
  for (const Part& part : step.parts) {
    begin(step.number, part);
    const Tensor images = normalized(step.batch.images.slice(part.begin, part.end));
    if (layer.empty()) layer = first_non_finite_layer(model_, images);
  }
  if (!std::isfinite(loss))
    throw NonFiniteError(str(where, "the loss is ", plain(loss), ": ",
                             layer.empty() ? "all layers are finite, the loss itself is not" : layer, ".",
                             kAdvice));
  const Inputs batch{step.batch.images, step.batch.labels, step.batch.targets};
  for (const Part& part : step.parts) {
    begin(step.number, part);
    forward_and_backward(batch, part);
  }
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
