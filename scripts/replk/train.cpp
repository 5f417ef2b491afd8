#include "scripts/replk/train.h"

#include <fmt/format.h>

#include <chrono>
#include <iostream>
#include <memory>

#include "core/parallel.h"
#include "scripts/replk/command_line.h"
#include "scripts/replk/kernel_report.h"
#include "scripts/replk/lr_finder.h"
#include "scripts/replk/memory_advice.h"
#include "scripts/replk/profile_report.h"
#include "scripts/replk/text.h"
#include "scripts/replk/train_run.h"

namespace replk {
namespace {

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// --overfit-batch: no randomness, no regularisation; if this does not reach a loss near 0, something is
// wrong.
int overfit_batch(TrainOptions options, Progress& progress) {
  constexpr double kGoal = 0.01;
  constexpr int kMostSteps = 500, kStepsBetweenLines = 50;
  options.augment.clear();
  options.aa.clear();
  options.color_jitter = options.mixup = options.cutmix = 0;
  options.cutmix_minmax.clear();
  options.label_smoothing = options.weight_decay = options.warmup_epochs = 0;
  options.drop_path = 0;
  options.schedule = "constant";
  TrainParts parts(options);
  progress.print(parts.describe());
  const Interrupt interrupt;
  parts.loader.start(0);
  const Batch batch = *parts.loader.next();
  StepResult result;
  for (int step = 1; step <= kMostSteps; ++step) {
    result = parts.trainer.step(batch);
    const std::string line = fmt::format("step {}: loss {:.4f}", step, result.loss);
    progress.show({line});
    if (step == 1 || step % kStepsBetweenLines == 0) progress.print(line);
    if (interrupt.requested()) return kExitInterrupted;
    if (result.loss >= kGoal) continue;
    progress.print(fmt::format("overfit-batch: loss {:.4f} after {} steps, {} of {} images right: it works",
                               result.loss, step, result.correct, result.images));
    return kExitOk;
  }
  progress.clear();
  std::cerr << fmt::format("replk: --overfit-batch: a loss below {} expected within {} steps, got {:.4f}.",
                           kGoal, kMostSteps, result.loss)
            << std::endl;
  return kExitNo;
}

// --dry-run: everything is built and one step runs; nothing is written.
int dry_run(const TrainOptions& options, Progress& progress) {
  TrainParts parts(options);
  progress.print(parts.describe());
  parts.loader.start(0);
  const Batch batch = *parts.loader.next();
  const Stopwatch watch;
  const StepResult result = parts.trainer.step(batch);
  const double seconds = watch.seconds();
  const auto peak = static_cast<std::uint64_t>(allocator_for(parts.compute.device).stats().peak);
  progress.print(
      fmt::format("one step of {} images: {:.3f} s, loss {:.4f}, gradient norm {:.3g}, {} of memory",
                  result.images, seconds, result.loss, result.gradient_norm, format_bytes(peak)));
  progress.print("dry run: nothing was written");
  return kExitOk;
}

int full_run(TrainOptions options, Progress& progress) {
  TrainParts parts(options);
  // As they came out: resuming must not need the file that was started from.
  options.drop_path = parts.model.config().drop_path_rate;
  if (!options.finetune.empty()) {
    options.mean.assign(parts.data.card.mean.begin(), parts.data.card.mean.end());
    options.std.assign(parts.data.card.std.begin(), parts.data.card.std.end());
  }
  progress.print(parts.describe());
  const bool resuming = !options.resume.empty();
  const RunFolder folder = resuming ? RunFolder::open(options.resume)
                                    : RunFolder::create(options.out, options.data, options.model);
  folder.remove_leftovers();
  TrainRun run(parts, folder, progress);
  if (resuming) run.resume();
  folder.write(kConfigFile, to_json(options));
  folder.write(kModelFile, to_json(parts.model.config()) + "\n");
  progress.print((resuming ? "continuing in " : "saving to ") + folder.path().string());
  return run.run();
}

// What fits instead; nothing where not even the data can be opened.
std::string advice(const TrainOptions& options) {
  try {
    const Compute compute = resolve_compute({options.device, options.precision});
    const ModelCard card = open_train_data(options).card;
    return training_memory_advice({.config = network_for(options, card),
                                   .height = card.height,
                                   .width = card.width,
                                   .device = compute.device,
                                   .activations = compute.activations},
                                  options, allocator_for(compute.device).capacity());
  } catch (const std::exception&) {
    return "";
  }
}

int run(const TrainOptions& options, Progress& progress) {
  try {
    return options.dry_run         ? dry_run(options, progress)
           : options.overfit_batch ? overfit_batch(options, progress)
           : options.find_lr       ? find_learning_rate(options, progress)
                                   : full_run(options, progress);
  } catch (const OutOfMemory& error) {
    progress.clear();
    throw OutOfMemory(error.what() + advice(options), error.capacity());
  }
}

}  // namespace

int run_train(const TrainOptions& options) {
  // Told before any data are read: a mistyped name, a folder that is in use.
  preset(options.model);
  const bool writes = !options.dry_run && !options.overfit_batch;
  if (writes && options.resume.empty()) RunFolder::require_free(options.out);
  if (options.threads > 0) set_num_threads(static_cast<int>(options.threads));
  set_default_depthwise_kernel(depthwise_kernel_named(options.depthwise_kernel));
  Progress progress(Progress::standard_output());
  if (options.profile) Profile::enable(true);
  const Stopwatch watch;
  const int code = run(options, progress);
  if (options.profile) progress.print(profile_report(Profile::entries(), watch.seconds()));
  return code;
}

CLI::App* add_train_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("train", "Train a network; saves checkpoints, metrics and curves");
  const auto given = std::make_shared<GivenFlags>();
  add_train_flags(*command, *given);
  command->callback([given, &app] {
    TrainOptions options = resolve_train_options(*given);
    options.program = app.get_name();
    if (const int code = run_train(options); code != kExitOk) throw CLI::RuntimeError(code);
  });
  return command;
}

}  // namespace replk
