#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "scripts/replk/command_line.h"
#include "scripts/replk/commands.h"
#include "scripts/replk/common_flags.h"
#include "scripts/replk/compute.h"
#include "scripts/replk/merge_comparison.h"
#include "scripts/replk/table.h"
#include "scripts/replk/text.h"

namespace replk {
namespace {

struct ReparamFlags {
  std::string checkpoint, out;
  bool fold_batch_norm = false;
  double limit = 1e-4;
  std::int64_t images = 256;
  DataFlags data;
  ComputeFlags compute;
};

// Of the data set; random ones where the network's own is not on this machine.
Samples find_samples(const ReparamFlags& flags, const ModelCard& card) {
  if (!flags.data.name.empty()) return dataset_images(flags.data.open(), card, flags.images);
  if (card.dataset.empty()) return random_images(card, flags.images);
  std::shared_ptr<const Dataset> dataset;
  try {
    dataset = flags.data.open(card.dataset);
  } catch (const Error& error) {
    fmt::print(stderr, "replk: note: random images are used: {}\n", error.what());
    return random_images(card, flags.images);
  }
  return dataset_images(dataset, card, flags.images);
}

// What is still to be done to this network; refuses when nothing is.
void check_flags(const ReparamFlags& flags, const TrainedModel& trained) {
  const bool done =
      flags.fold_batch_norm ? trained.config.batch_norm_folded : trained.config.small_kernel_merged;
  if (done)
    throw UsageError(str(trained.path.string(), ": this network is merged already",
                         flags.fold_batch_norm || trained.config.batch_norm_folded
                             ? "."
                             : "; --fold-bn folds its batch norms too."));
  std::error_code error;
  if (std::filesystem::equivalent(flags.out, trained.path, error))
    throw UsageError(str("--out: another file than the checkpoint expected, got ", flags.out,
                         ": what was merged cannot be trained on."));
}

void print_table(const TrainedModel& trained, RepLKNet& merged, const ReparamFlags& flags, double speed,
                 double merged_speed) {
  using enum Table::Align;
  Table table({{""}, {"before", right}, {"after", right}, {"ratio", right}});
  const auto ratio = [](double before, double after) { return fmt::format("{:.2f}", after / before); };
  const std::int64_t weights = trained.model->parameter_count(), weights_left = merged.parameter_count();
  table.add({"parameters", format_count(weights), format_count(weights_left),
             ratio(static_cast<double>(weights), static_cast<double>(weights_left))});
  const auto bytes = std::filesystem::file_size(trained.path),
             bytes_left = std::filesystem::file_size(flags.out);
  table.add({"file", format_bytes(bytes), format_bytes(bytes_left),
             ratio(static_cast<double>(bytes), static_cast<double>(bytes_left))});
  table.add({"images/s", format_count(std::llround(speed)), format_count(std::llround(merged_speed)),
             ratio(speed, merged_speed)});
  fmt::print("{}", table.text());
}

void run_reparam(const ReparamFlags& flags) {
  const Compute compute = resolve_compute(flags.compute);
  const TrainedModel trained = load_trained(flags.checkpoint, compute.device, /*needs_card=*/false);
  check_flags(flags, trained);
  const auto merged = load_model(trained.path);
  merged->structural_reparam();
  if (flags.fold_batch_norm) merged->fold_batch_norm();
  merged->to(compute.device);

  const Samples samples = find_samples(flags, trained.card);
  const Comparison comparison = compare(*trained.model, *merged, samples);
  fmt::print("{} ({})\n", trained.card.model, trained.path.string());
  fmt::print("merged: small kernels and their batch norms into the large kernels{}\n\n",
             flags.fold_batch_norm ? "; every other batch norm into a convolution" : "");
  fmt::print("compared on {} images of {}\n", format_count(comparison.images), samples.name);
  fmt::print("largest difference: {:.2g} of the largest logit (limit {:g})\n", comparison.difference,
             flags.limit);
  fmt::print(
      "same prediction: {} of {} ({})\n\n", format_count(comparison.agreeing),
      format_count(comparison.images),
      format_percent(static_cast<double>(comparison.agreeing) / static_cast<double>(comparison.images)));
  std::fflush(stdout);
  if (!(comparison.difference <= flags.limit))
    throw Error(
        fmt::format("{}: merging changes the outputs by {:.2g} of the largest logit, at most {:g} allowed "
                    "(--limit); {} was not written.",
                    trained.path.string(), comparison.difference, flags.limit, flags.out));

  const std::vector<double> speeds =
      measure_speed({trained.model.get(), merged.get()}, samples.batches.front().to(compute.device));
  save_checkpoint(flags.out, *merged, trained.metadata);
  print_table(trained, *merged, flags, speeds[0], speeds[1]);
  fmt::print("(batches of {}, on {})\n\nsaved: {}\n", samples.batches.front().size(1), compute.describe(),
             flags.out);
}

}  // namespace

CLI::App* add_reparam_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "reparam", "Merges a trained network into a smaller, faster one that gives the same answers");
  const auto flags = std::make_shared<ReparamFlags>();
  command->add_option("checkpoint", flags->checkpoint, "A checkpoint, or the folder of a run")->required();
  command->add_option("-o,--out", flags->out, "The file to write")->required();
  command->add_flag("--fold-bn", flags->fold_batch_norm, "Fold every batch norm into a convolution too");
  command
      ->add_option("--limit", flags->limit,
                   "Refuse when outputs differ by more, relative to the largest logit")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--images", flags->images, "Compare on so many images")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  add_data_flags(*command, flags->data);
  add_device_flag(*command, flags->compute);
  add_threads_flag(*command);
  command->callback([flags] { run_reparam(*flags); });
  return command;
}

}  // namespace replk
