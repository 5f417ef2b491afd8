// What several commands take: a data set, a number of threads, a trained network.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "data/dataset.h"
#include "scripts/replk/checkpoint.h"

namespace replk {

/// "train", "validation" (or "val"), "test". Throws UsageError naming the nearest one.
Split split_named(const std::string& name);

/// Which data set, as written on the command line.
struct DataFlags {
  std::string name;  // of a data set, or its folder; empty: what the checkpoint was trained on
  std::string root;  // where named ones are; empty: REPLK_DATA or /usr/share/datasets
  std::string split = "test";

  /// Opens it. `otherwise` stands for an empty name.
  std::shared_ptr<const Dataset> open(const std::string& otherwise = "") const;
};
/// Adds --data, --data-root and --split.
void add_data_flags(CLI::App& command, DataFlags& flags);
/// Adds --threads, which takes effect while the command line is parsed.
void add_threads_flag(CLI::App& command);

/// A trained network and what is known about it.
struct TrainedModel {
  std::filesystem::path path;  // of the checkpoint file
  RepLKNetConfig config;       // as it was read
  ModelCard card;              // without a dataset where the file has none and none is needed
  std::map<std::string, std::string> metadata;
  std::unique_ptr<RepLKNet> model;  // in eval mode
};
/// Reads the checkpoint meant by a file or a run folder, and moves the network to `device`. Throws FileError
/// when it is none, or its network does not classify; unless `needs_card` is false, also where it has no
/// card. One is made up then: the network's usual image size, mean 0.5 and std 0.25.
TrainedModel load_trained(const std::string& file_or_run, Device device = Device::cpu(),
                          bool needs_card = true);
/// Throws FileError when the data set has another number of classes than the network; says so on standard
/// error when only their names differ.
void check_classes(const Dataset& dataset, const ModelCard& card);

}  // namespace replk
