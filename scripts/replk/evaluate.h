// evaluate: loss, accuracy and confusion matrix of a network on a data set.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "data/dataset.h"
#include "data/loader.h"
#include "scripts/replk/checkpoint.h"

namespace replk {

struct EvaluateOptions {
  std::int64_t batch_size = 256;
  DType activations = DType::f32;  // in which images enter the network
  int workers = 1;
  std::function<void(std::int64_t done, std::int64_t of)> progress = {};  // after every batch, in images
  std::function<bool()> stop = {};  // asked before every batch: true gives up
  std::function<void(const Batch&, const Tensor& logits)> answered = {};  // f32 (N, classes), on the CPU
};

struct Evaluation {
  std::int64_t images = 0;
  double loss = 0;                      // mean cross entropy, without label smoothing
  double accuracy = 0, top5 = 0;        // shares in [0, 1]
  std::vector<std::int64_t> confusion;  // images, by [label * classes + predicted]
  double seconds = 0, images_per_second = 0;
  bool stopped = false;  // gave up before the end: the numbers are of what was seen
};

/// One class's row of the confusion matrix.
struct ClassResult {
  std::int64_t images = 0, right = 0;
  std::size_t mistaken_for = 0;  // the most frequent wrong answer
  std::int64_t mistakes = 0;     // how often
  double accuracy() const;       // NaN without images
  double mistaken_share() const;
};
std::vector<ClassResult> results_by_class(const Evaluation& evaluation, std::size_t classes);

/// How a picture becomes what the network takes: channels converted, resized (and the middle cut out, where
/// the card keeps proportions) to the size on the card.
Pipeline evaluation_pipeline(const ModelCard& card);

/// Runs the network in eval mode over all of `dataset`; its mode is restored. Depends on nothing but weights
/// and data: neither on threads nor on workers. Throws Error when the data set's number of classes is not the
/// network's.
Evaluation evaluate(RepLKNet& model, std::shared_ptr<const Dataset> dataset, const ModelCard& card,
                    const EvaluateOptions& options = {});

/// How many classes come before class `label` when classes are ordered by falling logit, equal ones by
/// number: 0 when it is the network's answer. A NaN comes before everything.
std::int64_t rank_of(std::span<const float> logits, std::int64_t label);
/// Rows of logits f32 (N, classes) whose rank_of their label i64 (N) is below k.
std::int64_t count_correct(const Tensor& logits, const Tensor& labels, std::int64_t k = 1);

}  // namespace replk
