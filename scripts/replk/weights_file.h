// Named tensors of any file that replk reads: safetensors, or a PyTorch checkpoint.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace replk {

enum class WeightsFormat { safetensors, pytorch };

struct WeightsFile {
  WeightsFormat format = WeightsFormat::safetensors;
  std::map<std::string, Tensor> tensors;        // under the names of the file
  std::map<std::string, std::string> metadata;  // of safetensors
  std::vector<std::string> notes;               // what was skipped
};

/// Reads a file of either format, told apart by how it begins. `entry`: of a PyTorch checkpoint (see
/// read_pytorch). Throws FileError; UsageError for an entry of a safetensors file.
WeightsFile read_weights(const std::filesystem::path& path, const std::string& entry = "");

/// The same under the names of the published model (models/published_weights.h), with a note for each change.
WeightsFile with_published_names(WeightsFile file);

}  // namespace replk
