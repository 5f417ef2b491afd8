#include "scripts/replk/weights_file.h"

#include <utility>

#include "core/error.h"
#include "io/pytorch_file.h"
#include "io/safetensors.h"
#include "models/published_weights.h"

namespace replk {

WeightsFile read_weights(const std::filesystem::path& path, const std::string& entry) {
  const std::string extension = path.extension().string();
  const bool named_so =
      extension == ".pth" || extension == ".pt";  // what is wrong with it, its reader says best
  if (looks_like_pytorch(path) || named_so) {
    PytorchFile file = read_pytorch(path, entry);
    return {.format = WeightsFormat::pytorch,
            .tensors = std::move(file.tensors),
            .metadata = {},
            .notes = std::move(file.notes)};
  }
  Safetensors file = read_safetensors(path);
  if (!entry.empty())
    throw UsageError(
        str("--entry: ", path.string(), " is a safetensors file, whose tensors have no entries above them."));
  return {.format = WeightsFormat::safetensors,
          .tensors = std::move(file.tensors),
          .metadata = std::move(file.metadata),
          .notes = {}};
}

WeightsFile with_published_names(WeightsFile file) {
  PublishedWeights published = with_published_names(std::move(file.tensors));
  file.tensors = std::move(published.tensors);
  file.notes.insert(file.notes.end(), published.notes.begin(), published.notes.end());
  return file;
}

}  // namespace replk
