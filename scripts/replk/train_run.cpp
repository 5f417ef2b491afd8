#include "scripts/replk/train_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iostream>
#include <limits>
#include <new>
#include <utility>

#include "scripts/replk/batch_pictures.h"
#include "scripts/replk/best_epochs.h"
#include "scripts/replk/command_line.h"
#include "scripts/replk/text.h"

namespace replk {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Exchanges weights and their average for the length of a scope.
class AveragedWeights {
 public:
  explicit AveragedWeights(Ema& ema) : ema_(ema) { ema_.swap(); }
  ~AveragedWeights() { ema_.swap(); }
  AveragedWeights(const AveragedWeights&) = delete;
  AveragedWeights& operator=(const AveragedWeights&) = delete;

 private:
  Ema& ema_;
};

}  // namespace

TrainRun::TrainRun(TrainParts& parts, RunFolder folder, Progress& progress)
    : parts_(parts), folder_(std::move(folder)), progress_(progress) {
  state_.batches = parts_.loader.batches();
  state_.images = parts_.data.train->size();
}

void TrainRun::resume() {
  const auto path = folder_.file(kStateFile);
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    progress_.print(str("nothing was saved in ", folder_.path().string(), ": starting from the beginning"));
    return;
  }
  TrainState saved = load_train_state(path, parts_.model, parts_.trainer.optimizer(), parts_.trainer.ema());
  check(saved.batches == state_.batches && saved.images == state_.images, path.string(), ": an epoch of ",
        saved.images, " images in ", saved.batches, " steps expected, the data now give ", state_.images,
        " in ", state_.batches, ".");
  state_ = std::move(saved);
  saved_ = true;
  folder_.write_metrics(title(), state_.history);
}

int TrainRun::run() {
  const TrainOptions& options = parts_.options;
  const std::int64_t last =
      options.stop_after > 0 ? std::min(options.epochs, options.stop_after) : options.epochs;
  remaining_.emplace(static_cast<double>(last * state_.batches),
                     static_cast<double>(parts_.trainer.optimizer().steps()));
  if (options.tensorboard == "on")
    tensorboard_.emplace(folder_.path(), state_.batches, steps_done(),
                         [this](const std::string& message) { warn(message); });
  try {
    while (state_.epoch < last && !out_of_patience()) {
      if (!train_epoch() || !finish_epoch()) return interrupted();
      if (state_.epoch == last || out_of_patience() || state_.epoch % options.save_every == 0) save();
      write_metrics();
    }
  } catch (const NonFiniteError& error) {
    throw NonFiniteError(error.what() + what_is_saved());
  } catch (const OutOfMemory& error) {
    throw OutOfMemory(error.what() + what_is_saved(), error.capacity());
  } catch (const std::bad_alloc&) {
    throw OutOfMemory("memory: the system has no more." + what_is_saved(),
                      allocator_for(parts_.compute.device).capacity());
  } catch (const FileError& error) {  // of the data, or of what was to be saved
    throw FileError(error.what() + what_is_saved());
  }
  report_end();
  return kExitOk;
}

bool TrainRun::out_of_patience() const {
  const std::int64_t patience = parts_.options.patience;
  return patience > 0 && epochs_without_gain(state_.history) >= patience;
}

// The steps of an epoch, from where it stands. False when interrupted.
bool TrainRun::train_epoch() {
  Trainer& trainer = parts_.trainer;
  parts_.loader.start(state_.epoch, state_.batch);
  BatchFeed feed(parts_.loader, parts_.compute.device);
  const double start = now();
  double mark = start;
  std::int64_t seen = 0;
  const auto finish_down_to = [&](std::size_t left) {
    while (trainer.in_flight() > left) {
      const StepResult result = trainer.finish();
      state_.seconds += now() - mark;
      mark = now();
      seen += result.images;
      count(result);
      const double images_per_second = static_cast<double>(seen) / (mark - start);
      if (tensorboard_) tensorboard_->add_step(steps_done(), result, images_per_second);
      show(result, images_per_second);
    }
  };
  while (!interrupt_.requested()) {
    auto batch = feed.next();
    if (!batch) break;
    save_picture(batch->host);
    const bool silent = trainer.why_not_recorded().empty();
    trainer.start(std::move(*batch));
    if (silent && !trainer.why_not_recorded().empty())
      warn(str("steps are launched kernel by kernel, not as one CUDA graph: ", trainer.why_not_recorded()));
    finish_down_to(most_in_flight(parts_.compute.device));
  }
  finish_down_to(0);
  return !interrupt_.requested();
}

void TrainRun::count(const StepResult& result) {
  state_.loss_sum += result.loss * static_cast<double>(result.images);
  state_.correct += result.correct;
  state_.seen += result.images;
  ++state_.batch;
}

// Validation, the row of metrics, the best checkpoint. False when interrupted: then validation is done again
// when the run goes on.
bool TrainRun::finish_epoch() {
  parts_.trainer.check_weights();
  const double start = now();
  EpochMetrics row = epoch_metrics();
  if (parts_.data.validation) {
    evaluation_ = validate_network();
    if (evaluation_->stopped) return false;
    if (!std::isfinite(evaluation_->loss))
      parts_.trainer.explain_validation(parts_.data.validation, evaluation_->loss);
    row.val_loss = evaluation_->loss;
    row.val_accuracy = evaluation_->accuracy;
  }
  if (parts_.trainer.ema() && !validate_average(row)) return false;
  row.seconds = state_.seconds + (now() - start);
  const double accuracy = parts_.data.validation ? row.val_accuracy : row.train_accuracy;
  const bool best = accuracy > state_.best_accuracy;
  if (best) {
    state_.best_accuracy = accuracy;
    state_.best_epoch = row.epoch;
    save_best(kBestFile);
  }
  // Before the state is saved: what it holds as done must not be missing there.
  if (tensorboard_) tensorboard_->add_epoch(row);
  state_.history.push_back(row);
  save_epoch();
  ++state_.epoch;
  state_.batch = state_.correct = state_.seen = 0;
  state_.loss_sum = state_.seconds = 0;
  report(row, best);
  return true;
}

// The same for the averaged weights; without validation images they are saved as the weights are.
bool TrainRun::validate_average(EpochMetrics& row) {
  const AveragedWeights averaged(*parts_.trainer.ema());
  double accuracy = row.train_accuracy;
  if (parts_.data.validation) {
    const Evaluation evaluation = validate_network();
    if (evaluation.stopped) return false;
    row.val_loss_ema = evaluation.loss;
    accuracy = row.val_accuracy_ema = evaluation.accuracy;
  }
  if (accuracy > state_.best_ema_accuracy) {
    state_.best_ema_accuracy = accuracy;
    save_best(kBestEmaFile);
  }
  return true;
}

void TrainRun::save_best(const char* file) {
  save_checkpoint(folder_.file(file), parts_.model, metadata_of(parts_.data.card));
}

// --keep: the weights of the epoch that ended, where it is among the best so far.
void TrainRun::save_epoch() {
  const std::int64_t epoch = state_.history.back().epoch;
  const auto kept = best_epochs(state_.history, parts_.options.keep);
  if (std::find(kept.begin(), kept.end(), epoch) != kept.end())
    save_checkpoint(folder_.epoch_file(epoch), parts_.model, metadata_of(parts_.data.card));
}

// After the state is saved: an older state, should the run go on from it, still finds its best epochs.
void TrainRun::remove_surplus_epochs() {
  if (parts_.options.keep > 0)
    folder_.remove_epoch_files_except(best_epochs(state_.history, parts_.options.keep));
}

void TrainRun::save_picture(const Batch& batch) {
  const std::int64_t step = batch.epoch * state_.batches + batch.index;
  if (step >= parts_.options.save_batches) return;
  const auto path = folder_.path() / "batches" / fmt::format("step_{:04}.png", step + 1);
  save_batch_sheet(path, batch, parts_.data.card.classes);
}

EpochMetrics TrainRun::epoch_metrics() const {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  const std::int64_t steps = parts_.trainer.optimizer().steps();
  return {.epoch = state_.epoch + 1,
          .step = steps,
          .train_loss = state_.loss_sum / static_cast<double>(state_.seen),
          .train_accuracy = train_accuracy(),
          .val_loss = kNone,
          .val_accuracy = kNone,
          .val_loss_ema = kNone,
          .val_accuracy_ema = kNone,
          .lr = parts_.trainer.schedule().learning_rate(steps - 1),
          .images_per_second = static_cast<double>(state_.seen) / state_.seconds};
}

Evaluation TrainRun::validate_network() {
  const auto progress = [this](std::int64_t done, std::int64_t of) {
    progress_.show({fmt::format("epoch {}/{}", state_.epoch + 1, parts_.options.epochs),
                    fmt::format("validating {}/{}", format_count(done), format_count(of))});
  };
  return evaluate(parts_.model, parts_.data.validation, parts_.data.card,
                  {.batch_size = validation_batch_size(parts_.options),
                   .activations = parts_.compute.activations,
                   .workers = static_cast<int>(parts_.options.workers),
                   .progress = progress,
                   .stop = [this] { return interrupt_.requested(); }});
}

void TrainRun::save() {
  parts_.trainer.check_weights();
  save_checkpoint(folder_.file(kLastFile), parts_.model, metadata_of(parts_.data.card));
  save_train_state(folder_.file(kStateFile), parts_.model, parts_.trainer.optimizer(), state_,
                   parts_.trainer.ema());
  saved_ = true;
  remove_surplus_epochs();
}

void TrainRun::write_metrics() {
  folder_.write_metrics(title(), state_.history);
  if (evaluation_)
    folder_.write_confusion(fmt::format("{}, validation after epoch {}: {}", title(), state_.epoch,
                                        format_percent(evaluation_->accuracy)),
                            parts_.data.card.classes, *evaluation_);
}

int TrainRun::interrupted() {
  save();
  progress_.print(fmt::format("interrupted in epoch {} after step {} of {}; saved. To continue:\n  {}",
                              state_.epoch + 1, state_.batch, state_.batches, resume_command()));
  return kExitInterrupted;
}

void TrainRun::show(const StepResult& result, double images_per_second) {
  progress_.show({fmt::format("epoch {}/{}", state_.epoch + 1, parts_.options.epochs),
                  remaining_->text(static_cast<double>(parts_.trainer.optimizer().steps())),
                  fmt::format("{:.0f} images/s", images_per_second),
                  fmt::format("loss {:.4f}", state_.loss_sum / static_cast<double>(state_.seen)),
                  "accuracy " + format_percent(train_accuracy()), fmt::format("lr {:.2e}", result.lr),
                  fmt::format("step {}/{}", state_.batch, state_.batches)});
}

void TrainRun::report(const EpochMetrics& row, bool best) {
  std::string line = fmt::format("epoch {}/{}  training loss {:.4f} accuracy {}", row.epoch,
                                 parts_.options.epochs, row.train_loss, format_percent(row.train_accuracy));
  if (parts_.data.validation)
    line +=
        fmt::format("  validation loss {:.4f} accuracy {}", row.val_loss, format_percent(row.val_accuracy));
  if (std::isfinite(row.val_accuracy_ema)) line += "  averaged " + format_percent(row.val_accuracy_ema);
  line += fmt::format("  {:.0f} images/s  {}{}", row.images_per_second, format_duration(row.seconds),
                      best ? "  best" : "");
  progress_.print(line);
}

void TrainRun::report_end() {
  progress_.print(fmt::format("{} epochs done; best {} accuracy {} in epoch {}: {}", state_.epoch,
                              parts_.data.validation ? "validation" : "training",
                              format_percent(state_.best_accuracy), state_.best_epoch,
                              folder_.file(kBestFile).string()));
  if (state_.best_ema_accuracy >= 0)
    progress_.print(fmt::format(
        "best {} accuracy of averaged weights {}: {}", parts_.data.validation ? "validation" : "training",
        format_percent(state_.best_ema_accuracy), folder_.file(kBestEmaFile).string()));
  progress_.print("all of it on one page: " + shell_word(parts_.options.program) + " report " +
                  shell_word(folder_.path().string()));
  if (state_.epoch >= parts_.options.epochs) return;
  if (out_of_patience())
    progress_.print(fmt::format(
        "stopped early: no better validation accuracy in {} epochs (--patience {}). To continue all the "
        "same:\n  {} --patience 0",
        epochs_without_gain(state_.history), parts_.options.patience, resume_command()));
  else
    progress_.print("stopped as --stop-after says. To continue:\n  " + resume_command());
}

void TrainRun::warn(const std::string& message) {
  progress_.clear();
  std::cerr << "replk: warning: " << message << std::endl;
}

double TrainRun::train_accuracy() const {
  return static_cast<double>(state_.correct) / static_cast<double>(state_.seen);
}

std::string TrainRun::title() const { return parts_.options.model + " on " + parts_.data.card.dataset; }

std::string TrainRun::what_is_saved() const {
  if (!saved_) return " Nothing was saved yet.";
  return str(" The last good checkpoint is ", folder_.file(kLastFile).string(), "; '", resume_command(),
             "' goes on from there.");
}

std::string TrainRun::resume_command() const {
  return shell_word(parts_.options.program) + " train --resume " + shell_word(folder_.path().string());
}

}  // namespace replk
