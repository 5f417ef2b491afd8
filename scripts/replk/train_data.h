// TrainData: the images of a run, split and prepared as its options say.
#pragma once

#include <memory>
#include <optional>

#include "data/loader.h"
#include "data/subset.h"
#include "scripts/replk/checkpoint.h"
#include "scripts/replk/finetune.h"
#include "scripts/replk/train_options.h"

namespace replk {

struct TrainData {
  std::shared_ptr<const Dataset> train;
  std::shared_ptr<const Dataset> validation;  // null without
  Pipeline augmentation;                      // of training images; ends with images of the card's size
  BatchTransform mixing;                      // of training batches; empty without mixup and cutmix
  ModelCard card;
  std::optional<Pretrained> pretrained;  // what --finetune names, unless the run is resumed
};

/// The images of a run for training and for validation (null without), as open_train_data splits them.
TrainValidation open_train_images(const TrainOptions& options);

/// Opens the data set and takes validation images out of the training part (unless it is an image folder with
/// a part for validation of its own); --limit then shortens both. Mean and standard deviation are those of
/// the options, else of the network that is fine-tuned, else of the training images. Throws UsageError for a
/// number that does not fit the data, and for images of several sizes without --image-size.
TrainData open_train_data(const TrainOptions& options);

}  // namespace replk
