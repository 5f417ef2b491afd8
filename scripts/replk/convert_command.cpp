#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <optional>
#include <sstream>
#include <utility>

#include "core/error.h"
#include "core/nearest_name.h"
#include "data/statistics.h"
#include "io/safetensors.h"
#include "scripts/replk/commands.h"
#include "scripts/replk/common_flags.h"
#include "scripts/replk/model_summary.h"
#include "scripts/replk/onnx_export.h"
#include "scripts/replk/text.h"
#include "scripts/replk/weights_file.h"

namespace replk {
namespace {

struct ConvertFlags {
  std::string in, out;
  ForeignOptions foreign;
  std::string config_file;
  bool as_is = false;
  DataFlags data;
  std::string classes_file;
  std::int64_t image_size = 0;
  bool keep_aspect = false;
  std::optional<double> eval_crop;
  std::string interpolation;
  std::vector<float> mean, std;

  bool to_onnx() const { return std::filesystem::path(out).extension() == ".onnx"; }
  bool card_given() const {
    // The size of an ONNX file's input needs no names of classes.
    const bool size = image_size > 0 && !to_onnx();
    return !data.name.empty() || !classes_file.empty() || size || keep_aspect || eval_crop ||
           !interpolation.empty() || !mean.empty() || !std.empty();
  }
};

std::string read_text_file(const std::string& flag, const std::string& path) {
  constexpr std::uintmax_t kMostBytes = 1 << 24;
  std::error_code error;
  const std::uintmax_t bytes = std::filesystem::file_size(path, error);
  if (error) throw FileError(str(flag, ": ", path, ": ", error.message(), "."));
  if (bytes > kMostBytes)
    throw FileError(str(flag, ": ", path, ": at most ", kMostBytes, " bytes expected, got ", bytes, "."));
  std::ifstream stream(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(stream)), {});
  if (text.size() != bytes) throw FileError(str(flag, ": ", path, ": cannot be read."));
  return text;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty()) lines.push_back(line);
  }
  return lines;
}

// Mean and deviation of pixels: as told, those of published weights for colour, measured for grey.
void set_normalisation(ModelCard& card, const ConvertFlags& flags, const Dataset* dataset) {
  const auto channels = static_cast<std::size_t>(card.channels);
  if (flags.mean.empty() != flags.std.empty()) throw UsageError("--mean and --std: give both, or neither.");
  if (!flags.mean.empty()) {
    if (flags.mean.size() != channels || flags.std.size() != channels)
      throw UsageError(str("--mean and --std: ", channels, " numbers each expected, got ", flags.mean.size(),
                           " and ", flags.std.size(), "."));
    card.mean = flags.mean;
    card.std = flags.std;
  } else if (card.mean.size() == channels) {
    return;  // as the file has it
  } else if (channels == 3) {
    set_published_normalisation(card);
  } else {
    if (!dataset) throw UsageError("--mean and --std are needed for grey images without --data.");
    constexpr std::int64_t kMostImages = 10'000;
    const DatasetStatistics found = dataset_statistics(*dataset, kMostImages);
    if (found.mean.size() != channels)
      throw UsageError(
          str("--data: images of ", channels, " channels expected, got ", found.mean.size(), "."));
    card.mean = {static_cast<float>(found.mean[0])};
    card.std = {found.deviation[0] > 0 ? static_cast<float>(found.deviation[0]) : 1.0F};
  }
}

// How evaluation makes images as large as the network takes them: as told, as the card has it, and where
// there was none as published weights were evaluated.
void set_resizing(ModelCard& card, const ConvertFlags& flags, bool had_card) {
  if (flags.eval_crop || !had_card) {
    const double crop = flags.eval_crop.value_or(usual_eval_crop(card.height));
    card.keep_aspect = crop > 0;
    card.crop = crop > 0 ? crop : 1;
  }
  if (flags.keep_aspect) card.keep_aspect = true;
  if (!flags.interpolation.empty() || !had_card) card.bicubic = flags.interpolation != "bilinear";
}

void check_resizing(const ConvertFlags& flags) {
  static const std::array<std::string, 2> kNames = {"bilinear", "bicubic"};
  if (!flags.interpolation.empty()) require_name("--interpolation", flags.interpolation, kNames);
  if (!flags.eval_crop) return;
  const double crop = *flags.eval_crop;
  if (crop != 0 && !(crop >= 0.1 && crop <= 1))
    throw UsageError(str("--eval-crop: 0, or a share from 0.1 to 1 expected, got ", crop, "."));
  if (crop == 0 && flags.keep_aspect)
    throw UsageError("--eval-crop 0 squeezes the whole image, --keep-aspect does not: give one of them.");
}

// What eval and predict need to know: from the file where it is there, and from the flags.
ModelCard make_card(const Checkpoint& checkpoint, const ConvertFlags& flags) {
  ModelCard card;
  const bool had_card = checkpoint.metadata.contains("card");
  if (had_card) card = checkpoint.card();
  if (card.model.empty()) card.model = checkpoint.preset.empty() ? "replknet" : checkpoint.preset;
  card.channels = checkpoint.config.in_channels;
  std::shared_ptr<const Dataset> dataset;
  if (!flags.data.name.empty()) {
    dataset = flags.data.open();
    card.dataset = flags.data.name;
    card.classes = dataset->classes();
  }
  if (!flags.classes_file.empty()) card.classes = lines_of(read_text_file("--classes", flags.classes_file));
  if (std::cmp_not_equal(card.classes.size(), checkpoint.config.num_classes))
    throw UsageError(str(checkpoint.path.string(), ": names of ", checkpoint.config.num_classes,
                         " classes expected from ", "--data or --classes, got ", card.classes.size(), "."));
  if (flags.image_size > 0) card.height = card.width = flags.image_size;
  if (card.height == 0) card.height = card.width = usual_image_size(checkpoint.config);
  set_resizing(card, flags, had_card);
  set_normalisation(card, flags, dataset.get());
  return card_from_json(to_json(card), "card");  // the checks of a card that is read
}

void print_notes(const std::vector<std::string>& notes) {
  for (const std::string& note : notes) fmt::print(stderr, "replk: note: {}\n", printable(note));
}

void convert_as_is(const ConvertFlags& flags) {
  const WeightsFile file = read_weights(find_checkpoint(flags.in), flags.foreign.entry);
  print_notes(file.notes);
  write_safetensors(flags.out, file.tensors, file.metadata);
  fmt::print("{} tensors as they are\nsaved: {}\n", file.tensors.size(), flags.out);
}

void write_onnx(const ConvertFlags& flags, const Checkpoint& checkpoint, RepLKNet& model,
                std::map<std::string, std::string> metadata) {
  std::int64_t height = flags.image_size, width = flags.image_size;
  if (const auto card = metadata.find("card"); card != metadata.end() && flags.image_size == 0) {
    const ModelCard found = card_from_json(card->second, checkpoint.path.string());
    height = found.height;
    width = found.width;
  }
  std::erase_if(metadata, [](const auto& entry) { return entry.first != "card"; });
  metadata["config"] = to_json(model.config());
  export_onnx(flags.out, model, height, width, metadata);
  const std::string size = height > 0 ? fmt::format("{}, {}", height, width) : "any, any";
  fmt::print("input \"images\" f32 (any, {}, {}), normalised\nsaved: {}\n", model.config().in_channels, size,
             flags.out);
}

void run_convert(ConvertFlags flags) {
  check_resizing(flags);
  if (!flags.to_onnx() && std::filesystem::path(flags.out).extension() != ".safetensors")
    throw UsageError(
        str("convert: a file to write that ends in .safetensors or .onnx expected, got '", flags.out, "'."));
  if (flags.as_is) {
    if (flags.to_onnx())
      throw UsageError("--as-is: an ONNX file is a network: a .safetensors file to write expected.");
    if (flags.card_given() || !flags.foreign.model.empty() || !flags.config_file.empty())
      throw UsageError("--as-is: tensors alone are copied; a network's flags make no sense with it.");
    return convert_as_is(flags);
  }
  if (!flags.config_file.empty()) flags.foreign.config = read_text_file("--config", flags.config_file);
  const Checkpoint checkpoint = read_checkpoint(find_checkpoint(flags.in), flags.foreign);
  print_notes(checkpoint.notes);
  const auto model = build_model(checkpoint);
  std::map<std::string, std::string> metadata = checkpoint.metadata;
  if (flags.card_given()) metadata["card"] = to_json(make_card(checkpoint, flags));

  fmt::print("{} ({})\n", checkpoint.preset.empty() ? "RepLKNet" : checkpoint.preset,
             checkpoint.path.string());
  fmt::print("{}", describe_config(checkpoint.config));
  fmt::print("{} parameters\n", format_count(model->parameter_count()));
  if (flags.to_onnx()) return write_onnx(flags, checkpoint, *model, metadata);
  save_checkpoint(flags.out, *model, metadata);
  fmt::print("saved: {}\n", flags.out);
  if (!metadata.contains("card") && checkpoint.config.num_classes > 0)
    fmt::print(
        "eval and predict need names of classes and a normalisation too: add --data NAME or --classes "
        "FILE\n");
}

void add_card_flags(CLI::App& command, ConvertFlags& flags) {
  command.add_option("--data", flags.data.name, "Take the names of the classes from this data set");
  command.add_option("--data-root", flags.data.root,
                     "Folder of the named data sets (default: $REPLK_DATA or /usr/share/datasets)");
  command.add_option("--classes", flags.classes_file, "File with the names of the classes, one a line");
  command.add_option("--image-size", flags.image_size, "Side in pixels of the images it takes")
      ->check(CLI::Range(1, 16384));
  command.add_option("--eval-crop", flags.eval_crop,
                     "Share of the shorter side that evaluation sees; 0: the whole image, squeezed (default: "
                     "0.875 for 224 pixels, 0 for 384 and more, else 1)");
  command.add_flag(
      "--keep-aspect", flags.keep_aspect,
      "Never squeeze: resize the shorter side and cut out the middle, at 384 pixels and more too");
  command
      .add_option("--interpolation", flags.interpolation,
                  "Of resizing: bilinear or bicubic (default: bicubic)")
      ->type_name("NAME");
  command
      .add_option(
          "--mean", flags.mean,
          "Mean of each channel, of pixels in [0, 1] (default for colour: ImageNet's; 0.5 for replknet-xl)")
      ->delimiter(',')
      ->allow_extra_args(false);
  command.add_option("--std", flags.std, "Standard deviation of each channel")
      ->delimiter(',')
      ->allow_extra_args(false);
}

}  // namespace

CLI::App* add_convert_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("convert", "A checkpoint in another format");
  const auto flags = std::make_shared<ConvertFlags>();
  command
      ->add_option("in", flags->in,
                   "A checkpoint (.safetensors, .pth or .pt of PyTorch), or the folder of a run")
      ->required();
  command->add_option("out", flags->out, "The file to write: .safetensors, or .onnx for other programs")
      ->required();
  command->add_option("--model", flags->foreign.model,
                      "The preset that the weights are of (default: inferred from names and shapes)");
  command->add_option("--config", flags->config_file, "JSON file with options of the network, over --model");
  command->add_option(
      "--entry", flags->foreign.entry,
      "Which weights of a PyTorch checkpoint, such as model_ema (default: model, state_dict, ...)");
  command->add_flag("--as-is", flags->as_is, "Copy tensors of any network, without looking at what they are");
  add_card_flags(*command, *flags);
  command->callback([flags] { run_convert(*flags); });
  return command;
}

}  // namespace replk
