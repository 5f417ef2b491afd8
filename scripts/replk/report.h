// Report: all that is known of a training run, and the page that shows it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "scripts/replk/evaluate.h"
#include "scripts/replk/kernel_strips.h"
#include "scripts/replk/merge_comparison.h"
#include "scripts/replk/mistakes.h"
#include "scripts/replk/run_folder.h"
#include "scripts/replk/train_options.h"

namespace replk {

/// A part of a report, or why there is none.
template <class T>
struct Part {
  std::optional<T> value;
  std::string missing;  // a sentence; used where there is no value
};

/// The trained network, as its checkpoint has it.
struct NetworkFacts {
  std::filesystem::path path;
  ModelCard card;
  std::int64_t parameters = 0;
  KernelPictures kernels;
};

/// A wrong answer with its picture, as the network saw it.
struct PicturedMistake {
  Mistake mistake;
  Image picture;
  std::string name;  // of the sample
};

/// What the network says to one part of the data.
struct Answered {
  std::string data, part;  // "fashion-mnist train", "validation"
  Evaluation evaluation;
  std::vector<PicturedMistake> worst;
  std::string computed_on;
};

/// One stage of merging; the first is the network as it was trained.
struct MergedNetwork {
  std::string name;
  std::int64_t parameters = 0, layers = 0;
  Comparison comparison;  // with the first
  double images_per_second = 0;
};

struct Merging {
  std::vector<MergedNetwork> networks;
  std::string samples;  // what they were compared on
  std::int64_t batch = 0;
  std::string computed_on;
};

struct Report {
  std::filesystem::path folder;
  TrainOptions options;  // its `program` names the commands to copy
  Part<std::vector<EpochMetrics>> metrics;
  Part<NetworkFacts> network;
  Part<Answered> answered;
  Part<Merging> merging;
};

/// The page: XHTML that HTML parsers read alike, with everything it shows inside. Whatever names and paths
/// hold is shown as text.
std::string report_html(const Report& report);

}  // namespace replk
