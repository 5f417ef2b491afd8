#include "scripts/replk/report_gather.h"

#include <fmt/format.h>

#include <utility>

#include "core/error.h"
#include "data/open_dataset.h"
#include "scripts/replk/model_summary.h"
#include "scripts/replk/train_data.h"

namespace replk {
namespace {

constexpr const char* kNoNetwork =
    "There is no network: this folder has neither best.safetensors nor last.safetensors, so no epoch was "
    "finished.";

Part<std::vector<EpochMetrics>> metrics_of(const RunFolder& folder) {
  std::vector<EpochMetrics> rows = folder.read_metrics();
  if (rows.empty())
    return {.value = {}, .missing = "There are no metrics: no epoch was finished, or metrics.jsonl is gone."};
  return {.value = std::move(rows), .missing = {}};
}

bool has_checkpoint(const RunFolder& folder) {
  std::error_code error;
  return std::filesystem::exists(folder.file(kBestFile), error) ||
         std::filesystem::exists(folder.file(kLastFile), error);
}

// The images that the run itself trained on or validated with, or its test images; null where it kept none.
std::shared_ptr<const Dataset> open_part(const ReportFlags& flags, Split part, TrainOptions options,
                                         const ModelCard& card) {
  if (!flags.data.name.empty()) options.data = flags.data.name;
  if (!flags.data.root.empty()) options.data_root = flags.data.root;
  std::shared_ptr<const Dataset> dataset;
  if (part == Split::test)
    dataset = open_dataset(options.data, part, options.data_root);
  else if (const TrainValidation images = open_train_images(options); part == Split::train)
    dataset = images.train;
  else
    dataset = images.validation;
  if (dataset) check_classes(*dataset, card);
  return dataset;
}

Part<std::shared_ptr<const Dataset>> dataset_of(const ReportFlags& flags, Split part,
                                                const TrainOptions& options, const ModelCard& card,
                                                Progress& progress) {
  const bool named = !flags.data.name.empty() || !flags.data.root.empty();
  try {
    if (auto dataset = open_part(flags, part, options, card))
      return {.value = std::move(dataset), .missing = {}};
    return {.value = {},
            .missing =
                "This run kept no images for validation (val_split 0): --split train or test shows others."};
  } catch (const Error& error) {
    if (named) throw;
    progress.clear();
    fmt::print(stderr, "replk: note: the report goes without images: {}\n", error.what());
    return {.value = {},
            .missing =
                fmt::format("Its images could not be read (--data says where they are): {}", error.what())};
  }
}

Answered answer(TrainedModel& trained, const std::shared_ptr<const Dataset>& dataset, Split part,
                const ReportFlags& flags, const Compute& compute, Progress& progress) {
  WorstMistakes mistakes;
  Answered answered{.data = dataset->name(),
                    .part = name_of(part),
                    .evaluation = {},
                    .worst = {},
                    .computed_on = compute.describe()};
  answered.evaluation =
      evaluate(*trained.model, dataset, trained.card,
               {.batch_size = flags.batch_size,
                .activations = compute.activations,
                .workers = flags.workers,
                .progress = count_images(progress),
                .answered = [&](const Batch& batch, const Tensor& logits) { mistakes.add(batch, logits); }});
  const Pipeline pipeline = evaluation_pipeline(trained.card);
  Random unused(0);
  for (const Mistake& mistake : mistakes.worst(static_cast<std::size_t>(flags.mistakes)))
    answered.worst.push_back({.mistake = mistake,
                              .picture = pipeline(dataset->get(mistake.index).image, unused),
                              .name = dataset->sample_name(mistake.index)});
  return answered;
}

// Merges step by step: `merged` is the network with its small kernels merged.
Merging merge(TrainedModel& trained, RepLKNet& merged, const Samples& samples, const Compute& compute) {
  std::vector<std::pair<std::string, RepLKNet*>> networks = {{"as trained", trained.model.get()}};
  if (!trained.config.small_kernel_merged) networks.emplace_back("small kernels merged", &merged);
  const auto folded = load_model(trained.path);
  folded->fold_batch_norm();
  if (!trained.config.batch_norm_folded) networks.emplace_back("batch norms folded too", folded.get());

  Merging merging{.networks = {},
                  .samples = fmt::format("images of {}", samples.name),
                  .batch = samples.batches.front().size(1),
                  .computed_on = compute.describe()};
  std::vector<RepLKNet*> all;
  for (const auto& [name, network] : networks) {
    const ModelSummary summary = summarize(network->config(), trained.card.height, trained.card.width);
    network->to(compute.device);
    all.push_back(network);
    merging.networks.push_back(
        {.name = name,
         .parameters = summary.parameters,
         .layers = static_cast<std::int64_t>(summary.layers.size()),
         .comparison = all.size() == 1 ? Comparison() : compare(*all.front(), *network, samples),
         .images_per_second = 0});
  }
  const std::vector<double> speeds = measure_speed(all, samples.batches.front().to(compute.device));
  for (std::size_t i = 0; i < all.size(); ++i) merging.networks[i].images_per_second = speeds[i];
  return merging;
}

}  // namespace

Report gather_report(const ReportFlags& flags, const std::string& program, Progress& progress) {
  const Split part = split_named(flags.data.split);
  const Compute compute = resolve_compute(flags.compute);
  const RunFolder folder = RunFolder::open(flags.run);
  Report report{.folder = folder.path(),
                .options = read_run_options(flags.run),
                .metrics = metrics_of(folder),
                .network = {.value = {}, .missing = kNoNetwork},
                .answered = {.value = {}, .missing = kNoNetwork},
                .merging = {.value = {}, .missing = kNoNetwork}};
  report.options.program = program;
  if (!has_checkpoint(folder)) return report;

  TrainedModel trained = load_trained(flags.run, compute.device);
  progress.show({"drawing kernels"});
  const auto merged = load_model(trained.path);
  report.network.value = {.path = trained.path,
                          .card = trained.card,
                          .parameters = trained.model->parameter_count(),
                          .kernels = draw_kernels(*merged)};
  const auto dataset = dataset_of(flags, part, report.options, trained.card, progress);
  report.answered.missing = dataset.missing;
  if (dataset.value) report.answered.value = answer(trained, *dataset.value, part, flags, compute, progress);
  if (trained.config.batch_norm_folded) {
    report.merging.missing = "This network is merged already.";
    return report;
  }
  progress.show({"comparing merged networks"});
  const Samples samples = dataset.value ? dataset_images(*dataset.value, trained.card, flags.images)
                                        : random_images(trained.card, flags.images);
  report.merging.value = merge(trained, *merged, samples, compute);
  return report;
}

}  // namespace replk
