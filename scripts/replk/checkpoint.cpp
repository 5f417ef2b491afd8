#include "scripts/replk/checkpoint.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "io/safetensors.h"
#include "models/published_weights.h"
#include "scripts/replk/weights_file.h"

namespace replk {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "replk-checkpoint-1";
constexpr std::int64_t kMaxSide = 16384;  // the largest that resize makes

// A lower bound on the weights of a network, in double so that no configuration can overflow it.
double least_weights(const RepLKNetConfig& c) {
  const auto real = [](std::int64_t value) { return static_cast<double>(value); };
  double sum = real(c.channels[0]) * (9 * real(c.in_channels) + real(c.channels[0]));
  for (std::size_t i = 0; i < c.channels.size(); ++i) {
    const double width = real(c.channels[i]), kernel = real(c.large_kernel_sizes[i]);
    const double dw = std::max(1.0, std::floor(width * c.dw_ratio));
    const double hidden = std::max(1.0, std::floor(width * c.ffn_ratio));
    sum += real(c.layers[i]) * (2 * width * dw + dw * kernel * kernel + 2 * width * hidden);
    if (i > 0) sum += width * real(c.channels[i - 1]);
  }
  return sum + real(c.num_classes) * real(c.channels.back());
}

double weights_in(const std::map<std::string, Tensor>& tensors) {
  double sum = 0;
  for (const auto& [name, tensor] : tensors) sum += static_cast<double>(tensor.numel());
  return sum;
}

std::string text_of(const std::map<std::string, std::string>& metadata, const char* key) {
  const auto found = metadata.find(key);
  return found == metadata.end() ? std::string() : found->second;
}

}  // namespace

double usual_eval_crop(std::int64_t side) { return side >= 384 ? 0 : side >= 224 ? 0.875 : 1; }

void set_published_normalisation(ModelCard& card) {
  const bool xl = card.model == "replknet-xl";
  card.mean = xl ? std::vector{0.5F, 0.5F, 0.5F} : std::vector{0.485F, 0.456F, 0.406F};
  card.std = xl ? std::vector{0.5F, 0.5F, 0.5F} : std::vector{0.229F, 0.224F, 0.225F};
}

std::string to_json(const ModelCard& card) {
  return Json{{"model", card.model},
              {"dataset", card.dataset},
              {"classes", card.classes},
              {"height", card.height},
              {"width", card.width},
              {"channels", card.channels},
              {"keep_aspect", card.keep_aspect},
              {"crop", card.crop},
              {"bicubic", card.bicubic},
              {"mean", card.mean},
              {"std", card.std}}
      .dump(-1, ' ', false, Json::error_handler_t::replace);  // a class name need not be UTF-8
}

ModelCard card_from_json(const std::string& text, const std::string& source) {
  const Json object = Json::parse(text, nullptr, false);
  const auto refuse = [&](const auto&... message) {
    throw FileError(str(source, ": metadata 'card': ", message...));
  };
  if (!object.is_object()) refuse("a JSON object expected.");
  ModelCard card;
  const auto read = [&](const char* key, auto& field) {
    try {
      object.at(key).get_to(field);
    } catch (const nlohmann::json::exception&) {
      refuse("'", key, "' is missing or of another type.");
    }
  };
  read("model", card.model);
  read("dataset", card.dataset);
  read("classes", card.classes);
  read("height", card.height);
  read("width", card.width);
  read("channels", card.channels);
  read("keep_aspect", card.keep_aspect);
  // Not in cards written before there were these.
  if (object.contains("crop")) read("crop", card.crop);
  if (object.contains("bicubic")) read("bicubic", card.bicubic);
  read("mean", card.mean);
  read("std", card.std);
  if (card.height < 1 || card.height > kMaxSide || card.width < 1 || card.width > kMaxSide)
    refuse("images of 1 to ", kMaxSide, " pixels a side expected, got ", card.height, "x", card.width, ".");
  if (!(card.crop >= 0.1 && card.crop <= 1)) refuse("a crop from 0.1 to 1 expected, got ", card.crop, ".");
  if (card.channels != 1 && card.channels != 3) refuse("1 or 3 channels expected, got ", card.channels, ".");
  if (std::cmp_not_equal(card.mean.size(), card.channels) ||
      std::cmp_not_equal(card.std.size(), card.channels))
    refuse("mean and std need ", card.channels, " numbers each.");
  for (std::size_t c = 0; c < card.mean.size(); ++c)
    if (!std::isfinite(card.mean[c]) || !std::isfinite(card.std[c]) || card.std[c] <= 0)
      refuse("finite means and positive stds expected, channel ", c, " has ", card.mean[c], " and ",
             card.std[c], ".");
  return card;
}

ModelCard Checkpoint::card() const {
  const auto found = metadata.find("card");
  if (found == metadata.end())
    throw FileError(str(path.string(), ": metadata: a 'card' (classes, image size, mean and std) expected, ",
                        "there is none: this checkpoint does not come from 'replk train'. 'replk convert ",
                        "FILE OUT.safetensors --data NAME' adds one."));
  ModelCard card = card_from_json(found->second, path.string());
  if (std::cmp_not_equal(card.classes.size(), config.num_classes) || card.channels != config.in_channels)
    throw FileError(str(path.string(), ": metadata: card and config disagree: ", card.classes.size(), " and ",
                        config.num_classes, " classes, ", card.channels, " and ", config.in_channels,
                        " channels."));
  return card;
}

std::map<std::string, std::string> metadata_of(const ModelCard& card) { return {{"card", to_json(card)}}; }

namespace {

void check_weights(const Checkpoint& checkpoint, const char* source) {
  const double expected = least_weights(checkpoint.config), present = weights_in(checkpoint.weights);
  if (!(expected <= present))
    throw FileError(str(checkpoint.path.string(), ": ", source, "describes a network of at least ", expected,
                        " weights, the file has ", present, "."));
}

// The network that foreign weights are of: what the user says, then what they show.
InferredConfig foreign_config(const std::string& file, const std::map<std::string, Tensor>& weights,
                              const ForeignOptions& options) {
  InferredConfig result;
  try {
    result = infer_config(weights);
  } catch (const Error& error) {
    throw FileError(str(file, ": ", error.what()));
  }
  if (!options.model.empty())
    result = {.config = adapt_config(preset(options.model), weights), .preset = options.model};
  if (!options.config.empty()) result.config = config_from_json(options.config, result.config);
  if (!result.strides_known && options.config.find("stem_strides") == std::string::npos)
    throw UsageError(
        str(file, ": the strides of the stem leave no trace in weights, and no preset looks like these ",
            result.config.channels.size(),
            " stages. Say --model, or --config with a file such as {\"stem_strides\": [2, 1]}."));
  validate(result.config);
  return result;
}

Checkpoint read_foreign(const std::filesystem::path& path, WeightsFile file, const ForeignOptions& options) {
  file = with_published_names(std::move(file));
  Checkpoint checkpoint{.path = path,
                        .config = {},
                        .weights = std::move(file.tensors),
                        .metadata = {},
                        .notes = std::move(file.notes),
                        .foreign = true};
  InferredConfig inferred = foreign_config(path.string(), checkpoint.weights, options);
  checkpoint.config = std::move(inferred.config);
  checkpoint.preset = std::move(inferred.preset);
  if (options.model.empty() && options.config.empty()) check_weights(checkpoint, "");
  return checkpoint;
}

}  // namespace

Checkpoint read_checkpoint(const std::filesystem::path& path, const ForeignOptions& foreign) {
  WeightsFile file = read_weights(path, foreign.entry);
  const std::string name = path.string();
  const std::string format = text_of(file.metadata, "format");
  if (!format.starts_with("replk-")) return read_foreign(path, std::move(file), foreign);
  if (foreign.given())
    throw UsageError(
        str(name, ": this file says which network it is: --model and --config are for files that do not."));
  if (format != kFormat)
    throw FileError(str(name, ": metadata 'format': '", kFormat, "' expected, got '", format,
                        "': not a RepLK checkpoint."));
  Checkpoint checkpoint{
      .path = path, .config = {}, .weights = std::move(file.tensors), .metadata = std::move(file.metadata)};
  try {
    checkpoint.config = config_from_json(text_of(checkpoint.metadata, "config"));
    validate(checkpoint.config);
  } catch (const Error& error) {
    throw FileError(str(name, ": metadata 'config': ", error.what()));
  }
  check_weights(checkpoint, "metadata 'config': ");
  return checkpoint;
}

void save_checkpoint(const std::filesystem::path& path, RepLKNet& model,
                     std::map<std::string, std::string> metadata) {
  std::map<std::string, Tensor> tensors;
  for (const NamedTensor& entry : model.state()) tensors[entry.name] = entry.tensor;
  metadata["format"] = kFormat;
  metadata["config"] = to_json(model.config());
  write_safetensors(path, tensors, metadata);
}

std::unique_ptr<RepLKNet> build_model(const Checkpoint& checkpoint) {
  try {
    auto model = std::make_unique<RepLKNet>(checkpoint.config);
    model->load_state_strictly(checkpoint.weights, checkpoint.path.string());
    model->eval();
    return model;
  } catch (const FileError&) {
    throw;
  } catch (const Error& error) {
    const std::string text = error.what(), name = checkpoint.path.string();
    throw FileError(text.starts_with(name) ? text : str(name, ": ", text));
  }
}

std::unique_ptr<RepLKNet> load_model(const std::filesystem::path& path) {
  return build_model(read_checkpoint(path));
}

std::filesystem::path find_checkpoint(const std::filesystem::path& file_or_run) {
  std::error_code error;
  if (!std::filesystem::is_directory(file_or_run, error)) return file_or_run;
  for (const char* name : {"best.safetensors", "last.safetensors"})
    if (std::filesystem::exists(file_or_run / name, error)) return file_or_run / name;
  throw FileError(str(file_or_run.string(),
                      ": best.safetensors or last.safetensors expected in this folder, ",
                      "there is neither."));
}

}  // namespace replk
