#include "scripts/replk/weights_file.h"

#include <utility>

#include "core/error.h"
#include "io/pytorch_file.h"
#include "io/safetensors.h"

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

}  // namespace replk
