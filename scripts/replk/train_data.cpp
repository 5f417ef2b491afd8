#include "scripts/replk/train_data.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "core/error.h"
#include "data/open_dataset.h"
#include "data/statistics.h"
#include "data/subset.h"
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

ModelCard make_card(const TrainOptions& options, const Dataset& train) {
  const DatasetStatistics found = dataset_statistics(train, kImagesForStatistics);
  const auto [height, width, channels] = found.sizes.begin()->first;
  const bool one_size = found.sizes.size() == 1;
  if (!one_size && options.image_size == 0)
    throw UsageError(str("--image-size: needed for ", train.name(), ", whose images have ",
                         found.sizes.size(), " sizes, such as ", height, "x", width, "."));
  const bool own_size = options.image_size == 0;
  ModelCard card{.model = options.model,
                 .dataset = options.data,
                 .classes = train.classes(),
                 .height = own_size ? height : options.image_size,
                 .width = own_size ? width : options.image_size,
                 .channels = channels,
                 .keep_aspect = !own_size && !(one_size && height == width),
                 .mean = {},
                 .std = {}};
  for (std::size_t c = 0; c < found.mean.size(); ++c) {
    card.mean.push_back(static_cast<float>(found.mean[c]));
    // A channel that is the same everywhere has nothing to scale.
    card.std.push_back(found.deviation[c] > 0 ? static_cast<float>(found.deviation[c]) : 1.0F);
  }
  return card;
}

Pipeline make_augmentation(const TrainOptions& options, const ModelCard& card) {
  const auto chosen = [&](const char* name) {
    return std::find(options.augment.begin(), options.augment.end(), name) != options.augment.end();
  };
  Pipeline pipeline;
  if (chosen("resized-crop")) {
    pipeline.add(ConvertChannels{.channels = card.channels});
    pipeline.add(RandomResizedCrop{.size = {card.height, card.width}});
  } else {
    pipeline.add(evaluation_pipeline(card));
  }
  if (chosen("flip")) pipeline.add(HorizontalFlip{});
  if (chosen("crop")) pipeline.add(RandomCrop{.padding = options.crop_padding});
  if (chosen("erase")) {
    RandomErasing erasing{.probability = options.erase_prob};
    for (std::size_t c = 0; c < card.mean.size(); ++c) {
      erasing.mean[c] = 255.0 * static_cast<double>(card.mean[c]);
      erasing.deviation[c] = 255.0 * static_cast<double>(card.std[c]);
    }
    pipeline.add(erasing);
  }
  return pipeline;
}

}  // namespace

TrainData open_train_data(const TrainOptions& options) {
  TrainData data;
  data.train = open_dataset(options.data, Split::train, options.data_root);
  if (has_validation_folder(options.data)) {
    data.validation = open_dataset(options.data, Split::validation, options.data_root);
  } else if (const auto count = validation_size(options.val_split, data.train->size()); count > 0) {
    auto parts = split_validation(data.train, count, static_cast<std::uint64_t>(options.seed));
    data.train = parts.train;
    data.validation = parts.validation;
  }
  data.train = at_most(data.train, options.limit, options.seed);
  data.validation = at_most(data.validation, options.limit, options.seed);
  data.card = make_card(options, *data.train);
  data.augmentation = make_augmentation(options, data.card);
  return data;
}

}  // namespace replk
