// Fine-tuning: starting from the weights of another training.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "scripts/replk/checkpoint.h"

namespace replk {

struct Pretrained {
  std::filesystem::path path;
  std::map<std::string, Tensor> weights;
  std::optional<ModelCard> card;   // of what was trained here
  std::vector<std::string> notes;  // about the file, one line each
};

/// Reads what --finetune names: a checkpoint (safetensors or PyTorch's), or a run folder. Throws FileError.
Pretrained read_pretrained(const std::string& file_or_run);

/// Copies the weights into the model, whatever the size of its images. A head for another number of classes
/// stays as it is, new. Returns lines that say what was done and list every name that is missing in the file
/// or in the model. Throws FileError when the file is of another network: other shapes, nothing that fits, or
/// merged kernels, which cannot be trained.
std::vector<std::string> start_from(RepLKNet& model, const Pretrained& pretrained);

}  // namespace replk
