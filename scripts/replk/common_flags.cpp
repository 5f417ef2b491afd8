#include "scripts/replk/common_flags.h"

#include <fmt/format.h>

#include <array>

#include "core/error.h"
#include "core/nearest_name.h"
#include "core/parallel.h"
#include "data/open_dataset.h"
#include "scripts/replk/model_summary.h"

namespace replk {

Split split_named(const std::string& name) {
  static const std::array<std::string, 3> kNames = {"train", "validation", "test"};
  if (name == "val") return Split::validation;
  require_name("--split", name, kNames);
  return name == "train" ? Split::train : name == "test" ? Split::test : Split::validation;
}

std::shared_ptr<const Dataset> DataFlags::open(const std::string& otherwise) const {
  const Split part = split_named(split);
  return open_dataset(name.empty() ? otherwise : name, part, root);
}

void add_data_flags(CLI::App& command, DataFlags& flags) {
  command.add_option("--data", flags.name,
                     "Data set: a name or a folder (default: what the network was trained on)");
  command.add_option("--data-root", flags.root,
                     "Folder of the named data sets (default: $REPLK_DATA or /usr/share/datasets)");
  command.add_option("--split", flags.split, "Part of the data set: train, validation or test")
      ->capture_default_str();
}

void add_threads_flag(CLI::App& command) {
  constexpr int kMostThreads = 1024;
  command
      .add_option_function<int>(
          "--threads", [](const int& threads) { set_num_threads(threads); },
          "Threads to compute with (default: one for each processor)")
      ->check(CLI::Range(1, kMostThreads));
}

namespace {

ModelCard made_up_card(const Checkpoint& checkpoint) {
  const auto channels = static_cast<std::size_t>(checkpoint.config.in_channels);
  const std::int64_t side = usual_image_size(checkpoint.config);
  return {.model = checkpoint.preset.empty() ? "RepLKNet" : checkpoint.preset,
          .dataset = {},
          .classes = {},
          .height = side,
          .width = side,
          .channels = checkpoint.config.in_channels,
          .mean = std::vector<float>(channels, 0.5F),
          .std = std::vector<float>(channels, 0.25F)};
}

}  // namespace

TrainedModel load_trained(const std::string& file_or_run, Device device, bool needs_card) {
  Checkpoint checkpoint = read_checkpoint(find_checkpoint(file_or_run));
  if (checkpoint.config.num_classes < 1)
    throw FileError(str(checkpoint.path.string(),
                        ": metadata 'config': a network with classes expected, this one has num_classes 0."));
  TrainedModel trained{.path = checkpoint.path,
                       .config = checkpoint.config,
                       .card = needs_card || checkpoint.metadata.contains("card") ? checkpoint.card()
                                                                                  : made_up_card(checkpoint),
                       .metadata = std::move(checkpoint.metadata),
                       .model = build_model(checkpoint)};
  trained.model->to(device);
  return trained;
}

void check_classes(const Dataset& dataset, const ModelCard& card) {
  if (dataset.classes().size() != card.classes.size())
    throw FileError(str(dataset.name(), ": ", card.classes.size(),
                        " classes expected, as the network has, got ", dataset.classes().size(), "."));
  if (dataset.classes() != card.classes)
    fmt::print(stderr,
               "replk: note: {}: its classes have other names than those the network was trained on.\n",
               dataset.name());
}

}  // namespace replk
