#include "scripts/replk/train_data.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <utility>

#include "core/error.h"
#include "data/mixup.h"
#include "data/open_dataset.h"
#include "data/rand_augment.h"
#include "data/statistics.h"
#include "scripts/replk/evaluate.h"

namespace replk {
namespace {

constexpr std::int64_t kImagesForStatistics = 10000;

bool has_validation_folder(const std::string& data) {
  std::error_code error;
  const std::filesystem::path root(data);
  return std::filesystem::is_directory(root / "val", error) ||
         std::filesystem::is_directory(root / "validation", error);
}

// The number of images that --val-split asks for.
std::int64_t validation_size(double val_split, std::int64_t images) {
  const double wanted = val_split < 1 ? std::ceil(val_split * static_cast<double>(images)) : val_split;
  if (wanted >= static_cast<double>(images))
    throw UsageError(
        str("--val-split: fewer than the ", images, " training images expected, got ", wanted, "."));
  return static_cast<std::int64_t>(wanted);
}

std::shared_ptr<const Dataset> at_most(std::shared_ptr<const Dataset> dataset, std::int64_t limit,
                                       std::int64_t seed) {
  if (!dataset || limit == 0 || dataset->size() <= limit) return dataset;
  return random_samples(std::move(dataset), limit, static_cast<std::uint64_t>(seed));
}

std::vector<float> floats(const std::vector<double>& values) { return {values.begin(), values.end()}; }

// Mean and deviation: as the options say, as the network was trained before, or as the images are.
void set_statistics(ModelCard& card, const TrainOptions& options, const std::optional<Pretrained>& pretrained,
                    const DatasetStatistics& found) {
  if (!options.mean.empty()) {
    if (std::cmp_not_equal(options.mean.size(), card.channels))
      throw UsageError(str("--mean: ", card.channels, " numbers expected, one for each channel, got ",
                           options.mean.size(), "."));
    card.mean = floats(options.mean);
    card.std = floats(options.std);
  } else if (pretrained && pretrained->card && pretrained->card->channels == card.channels) {
    card.mean = pretrained->card->mean;
    card.std = pretrained->card->std;
  } else {
    card.mean = floats(found.mean);
    // A channel that is the same everywhere has nothing to scale.
    for (const double deviation : found.deviation)
      card.std.push_back(deviation > 0 ? static_cast<float>(deviation) : 1.0F);
  }
}

ModelCard make_card(const TrainOptions& options, const std::optional<Pretrained>& pretrained,
                    const Dataset& train) {
  const DatasetStatistics found = dataset_statistics(train, kImagesForStatistics);
  const auto [height, width, channels] = found.sizes.begin()->first;
  const bool one_size = found.sizes.size() == 1;
  if (!one_size && options.image_size == 0)
    throw UsageError(str("--image-size: needed for ", train.name(), ", whose images have ",
                         found.sizes.size(), " sizes, such as ", height, "x", width, "."));
  const bool own_size = options.image_size == 0;
  const double crop = options.eval_crop.value_or(usual_eval_crop(options.image_size));
  const bool nothing_to_crop = one_size && height == width && crop == 1;
  ModelCard card{.model = options.model,
                 .dataset = options.data,
                 .classes = train.classes(),
                 .height = own_size ? height : options.image_size,
                 .width = own_size ? width : options.image_size,
                 .channels = channels,
                 .keep_aspect = !own_size && crop > 0 && !nothing_to_crop,
                 .crop = crop > 0 ? crop : 1,
                 .bicubic = options.interpolation == "bicubic",
                 .mean = {},
                 .std = {}};
  set_statistics(card, options, pretrained, found);
  return card;
}

// As bytes, for what is done to images before they are normalised.
std::array<double, 3> in_bytes(const std::vector<float>& values) {
  std::array<double, 3> bytes{};
  for (std::size_t c = 0; c < values.size(); ++c) bytes[c] = 255.0 * static_cast<double>(values[c]);
  return bytes;
}

RandAugment make_rand_augment(const TrainOptions& options, const ModelCard& card) {
  RandAugment augment = RandAugment::parse(options.aa);
  augment.filter = card.bicubic ? Filter::bicubic : Filter::bilinear;
  const std::array<double, 3> mean = in_bytes(card.mean);
  for (std::size_t c = 0; c < 3; ++c)
    augment.fill[c] = static_cast<std::uint8_t>(std::clamp(std::nearbyint(mean[c]), 0.0, 255.0));
  return augment;
}

Pipeline make_augmentation(const TrainOptions& options, const ModelCard& card) {
  const auto chosen = [&](const char* name) {
    return std::find(options.augment.begin(), options.augment.end(), name) != options.augment.end();
  };
  Pipeline pipeline;
  if (chosen("resized-crop")) {
    pipeline.add(ConvertChannels{.channels = card.channels});
    pipeline.add(RandomResizedCrop{.size = {card.height, card.width},
                                   .scale = {options.crop_scale[0], options.crop_scale[1]},
                                   .ratio = {options.crop_ratio[0], options.crop_ratio[1]},
                                   .filter = card.bicubic ? Filter::bicubic : Filter::bilinear});
  } else {
    pipeline.add(evaluation_pipeline(card));
  }
  if (chosen("flip")) pipeline.add(HorizontalFlip{});
  if (chosen("crop")) pipeline.add(RandomCrop{.padding = options.crop_padding});
  if (!options.aa.empty()) pipeline.add(make_rand_augment(options, card));
  if (options.color_jitter > 0) pipeline.add(ColorJitter{.strength = options.color_jitter});
  if (chosen("erase"))
    pipeline.add(RandomErasing{.probability = options.erase_prob,
                               .count = static_cast<int>(options.erase_count),
                               .mean = in_bytes(card.mean),
                               .deviation = in_bytes(card.std)});
  return pipeline;
}

BatchTransform make_mixing(const TrainOptions& options, const ModelCard& card) {
  MixParams params{.mixup = options.mixup,
                   .cutmix = options.cutmix,
                   .probability = options.mixup_prob,
                   .switch_probability = options.mixup_switch_prob};
  if (!options.cutmix_minmax.empty())
    params.cutmix_minmax = {options.cutmix_minmax[0], options.cutmix_minmax[1]};
  if (!params.enabled()) return {};
  return [params, smoothing = options.label_smoothing, height = card.height, width = card.width,
          classes = static_cast<std::int64_t>(card.classes.size()),
          seed = static_cast<std::uint64_t>(options.seed)](Batch& batch, std::int64_t step) {
    Random random = mix_random(seed, step);
    const Mix mix = choose_mix(params, height, width, random);
    mix_images(batch.images, mix);
    batch.targets = soft_targets(batch.labels, classes, mix, smoothing);
    batch.labels = main_labels(batch.labels, mix);
  };
}

}  // namespace

TrainValidation open_train_images(const TrainOptions& options) {
  TrainValidation parts{.train = open_dataset(options.data, Split::train, options.data_root),
                        .validation = nullptr};
  if (has_validation_folder(options.data))
    parts.validation = open_dataset(options.data, Split::validation, options.data_root);
  else if (const auto count = validation_size(options.val_split, parts.train->size()); count > 0)
    parts = split_validation(parts.train, count, static_cast<std::uint64_t>(options.seed));
  return {.train = at_most(parts.train, options.limit, options.seed),
          .validation = at_most(parts.validation, options.limit, options.seed)};
}

TrainData open_train_data(const TrainOptions& options) {
  TrainData data;
  TrainValidation parts = open_train_images(options);
  data.train = std::move(parts.train);
  data.validation = std::move(parts.validation);
  if (options.patience > 0 && !options.find_lr && !data.validation)
    throw UsageError("--patience: validation images expected, got none. Hint: a --val-split above 0.");
  if (!options.finetune.empty() && options.resume.empty())
    data.pretrained = read_pretrained(options.finetune);
  data.card = make_card(options, data.pretrained, *data.train);
  data.augmentation = make_augmentation(options, data.card);
  data.mixing = make_mixing(options, data.card);
  return data;
}

}  // namespace replk
