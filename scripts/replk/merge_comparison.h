// What merging a network changes: its answers (hardly) and its speed.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "scripts/replk/checkpoint.h"

namespace replk {

/// Images to compare networks on, normalised, in batches (C, N, H, W) on the CPU; at least one batch.
struct Samples {
  std::string name;
  std::vector<Tensor> batches;
};
/// `count` of noise, always the same ones.
Samples random_images(const ModelCard& card, std::int64_t count);
/// `count` of a data set (or all), always the same ones.
Samples dataset_images(std::shared_ptr<const Dataset> dataset, const ModelCard& card, std::int64_t count);

struct Comparison {
  double difference = 0;  // the largest of a logit, relative to the largest logit; NaN if one is NaN
  std::int64_t agreeing = 0, images = 0;  // with the same answer; compared
};
/// Both networks are in eval mode.
Comparison compare(RepLKNet& before, RepLKNet& after, const Samples& samples);

/// Images a second of each network on one batch (C, N, H, W), which is where they are. They run in turn, so
/// that whatever else the machine does slows all; the fastest run of each counts.
std::vector<double> measure_speed(const std::vector<RepLKNet*>& networks, const Tensor& batch);

}  // namespace replk
