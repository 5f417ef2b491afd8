#include "scripts/replk/train_parts.h"

#include <fmt/format.h>

#include <utility>

#include "scripts/replk/kernel_report.h"
#include "scripts/replk/text.h"

namespace replk {

RepLKNetConfig network_for(const TrainOptions& options, const ModelCard& card) {
  RepLKNetConfig config = preset(options.model);
  config.in_channels = card.channels;
  config.num_classes = static_cast<std::int64_t>(card.classes.size());
  if (!options.model_config.empty()) config = config_from_json(options.model_config, config);
  if (options.drop_path) config.drop_path_rate = *options.drop_path;
  if (options.checkpointing) config.use_checkpoint = true;
  const auto require = [](bool condition, const auto&... message) {
    if (!condition) throw UsageError(str("--model-config: ", message...));
  };
  require(config.in_channels == card.channels, "in_channels ", card.channels,
          " expected for these images, got ", config.in_channels, ".");
  require(std::cmp_equal(card.classes.size(), config.num_classes), "num_classes ", card.classes.size(),
          " expected for this data set, got ", config.num_classes, ".");
  require(!config.small_kernel_merged && !config.batch_norm_folded,
          "a merged network cannot be trained: small_kernel_merged and batch_norm_folded must be false.");
  try {
    validate(config);
  } catch (const UsageError&) {
    throw;
  } catch (const Error& error) {
    throw UsageError(str("--model-config: ", error.what()));
  }
  return config;
}

namespace {

// What the trainer is given: with the weights to start from, where it is to be trained.
RepLKNet& prepared(RepLKNet& model, TrainData& data, Device device, std::vector<std::string>& notes) {
  if (data.pretrained) notes = start_from(model, *data.pretrained);
  data.pretrained.reset();
  model.to(device);
  return model;
}

}  // namespace

TrainParts::TrainParts(const TrainOptions& o) : TrainParts(o, open_train_data(o)) {}

TrainParts::TrainParts(const TrainOptions& o, TrainData d)
    : options(o),
      compute(resolve_compute({o.device, o.precision})),
      data(std::move(d)),
      model(network_for(o, data.card), static_cast<std::uint64_t>(o.seed)),
      loader(data.train, data.augmentation,
             {.batch_size = o.batch_size,
              .shuffle = true,
              // A last batch of one or two images would spoil the statistics of batch norms.
              .drop_last = data.train->size() >= o.batch_size,
              .workers = static_cast<int>(o.workers),
              .seed = static_cast<std::uint64_t>(o.seed),
              .pinned = !compute.device.is_cpu()},
             data.mixing),
      trainer(prepared(model, data, compute.device, start_notes), o, data.card, loader.batches(),
              compute.activations) {}

std::string TrainParts::describe() {
  const ModelCard& card = data.card;
  std::string text =
      fmt::format("{} ({} parameters) on {}: {} images to train on", options.model,
                  format_count(model.parameter_count()), card.dataset, format_count(data.train->size()));
  if (data.validation) text += fmt::format(", {} to validate", format_count(data.validation->size()));
  text +=
      fmt::format("; {}x{}x{}, {} classes\n", card.height, card.width, card.channels, card.classes.size());
  text += fmt::format("{}, lr {:g} {}, {} epochs of {} steps of {} images, seed {}, on {}", options.optimizer,
                      learning_rate_scale(options) * options.lr, options.schedule, options.epochs,
                      format_count(loader.batches()), options.batch_size, options.seed, compute.describe());
  const auto layers = depthwise_layers(model.config(), compute.device, part_size(options), card.height,
                                       card.width, compute.activations);
  for (const std::string& line : kernel_lines(layers, Passes::all)) text += "\n" + line;
  for (const std::string& line : start_notes) text += "\n" + line;
  return text;
}

}  // namespace replk
