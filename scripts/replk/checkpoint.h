// Checkpoints: a network in one safetensors file, with all that is needed to use it on pictures.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "models/replknet.h"

namespace replk {

/// What a network was trained on: enough to evaluate it and to predict without any flag.
struct ModelCard {
  std::string model;    // the preset it was made from: "replknet-tiny"
  std::string dataset;  // as open_dataset takes it
  std::vector<std::string> classes;
  std::int64_t height = 0, width = 0, channels = 0;  // of the images it takes
  bool keep_aspect = false;                          // resize the shorter side and crop the middle
  double crop = 1;                                   // with keep_aspect: the crop's share of that side
  bool bicubic = false;                              // resize so, else bilinearly
  std::vector<float> mean, std;                      // per channel, of pixels in [0, 1]
};

/// The share of the shorter side that evaluation sees where nobody says otherwise, for images of `side`
/// pixels; 0: everything, squeezed. Source: the published rule, 224 of 256 pixels, and from 384 on all of
/// them; for small images own.
double usual_eval_crop(std::int64_t side);
/// Mean and deviation that the published weights of card.model were trained with: 0.5 for replknet-xl, those
/// of ImageNet for the others. Three channels.
void set_published_normalisation(ModelCard& card);

/// One JSON object with every field.
std::string to_json(const ModelCard& card);
/// Reads what to_json wrote, with suspicion. Throws FileError naming `source` and the field.
ModelCard card_from_json(const std::string& text, const std::string& source);

/// How to read a file that does not say what it holds: one of PyTorch, or safetensors of another program.
struct ForeignOptions {
  std::string entry;   // of a PyTorch checkpoint: "model_ema"; empty: the usual ones (io/pytorch_file.h)
  std::string model;   // a preset; empty: inferred from names and shapes (models/published_weights.h)
  std::string config;  // JSON with options of the network; the others are of `model`, or inferred
  bool given() const { return !entry.empty() || !model.empty() || !config.empty(); }
};

/// What a checkpoint file holds. `metadata` has the keys "format", "config" (the RepLKNetConfig) and, for
/// trained networks, "card" (the ModelCard); others are free text.
struct Checkpoint {
  std::filesystem::path path;
  RepLKNetConfig config;
  std::map<std::string, Tensor> weights;  // under the names of the published PyTorch model
  std::map<std::string, std::string> metadata;
  std::vector<std::string> notes = {};  // how a foreign file was read
  bool foreign = false;                 // the configuration is not from the file
  std::string preset = {};              // which a foreign network is, where it is one

  /// Throws FileError when the file has none: it does not come from training.
  ModelCard card() const;
};

/// Reads and checks a file: ours, a PyTorch checkpoint, or safetensors without "format" from another program.
/// The configuration is untrusted: it is refused when the network it describes would have more weights than
/// the file holds. Throws FileError naming file, place and expectation; UsageError for `foreign` options on a
/// file of ours.
Checkpoint read_checkpoint(const std::filesystem::path& path, const ForeignOptions& foreign = {});
/// Writes parameters and buffers under their PyTorch names, "format", "config" and `metadata`; the file is
/// replaced as a whole or not at all.
void save_checkpoint(const std::filesystem::path& path, RepLKNet& model,
                     std::map<std::string, std::string> metadata = {});
/// The metadata of a trained network: {"card": ...}.
std::map<std::string, std::string> metadata_of(const ModelCard& card);

/// The network of a checkpoint in eval mode. Throws FileError when weights and configuration disagree.
std::unique_ptr<RepLKNet> build_model(const Checkpoint& checkpoint);
/// read_checkpoint and build_model.
std::unique_ptr<RepLKNet> load_model(const std::filesystem::path& path);

/// The checkpoint meant by what a user writes: a file, or a run folder (its best.safetensors, or
/// last.safetensors when there is no best one). Throws FileError when there is neither.
std::filesystem::path find_checkpoint(const std::filesystem::path& file_or_run);

}  // namespace replk
