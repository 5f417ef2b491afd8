#include "scripts/replk/finetune.h"

#include <fmt/format.h>

#include <utility>

#include "core/error.h"
#include "scripts/replk/weights_file.h"

namespace replk {

Pretrained read_pretrained(const std::string& file_or_run) {
  Pretrained result{.path = find_checkpoint(file_or_run), .weights = {}, .card = {}, .notes = {}};
  WeightsFile file = with_published_names(read_weights(result.path));
  result.weights = std::move(file.tensors);
  result.notes = std::move(file.notes);
  if (const auto card = file.metadata.find("card"); card != file.metadata.end())
    result.card = card_from_json(card->second, result.path.string());
  return result;
}

std::vector<std::string> start_from(RepLKNet& model, const Pretrained& pretrained) {
  const std::string name = pretrained.path.string();
  auto weights = pretrained.weights;
  std::vector<std::string> lines;
  const std::size_t tensors = model.state().size();
  std::size_t replaced = 0;
  for (const NamedTensor& own : model.state()) {
    const auto found = weights.find(own.name);
    if (found == weights.end()) continue;
    const Shape &expected = own.tensor.shape(), &got = found->second.shape();
    if (expected == got) continue;
    const bool other_classes = own.name.starts_with("head.") && expected.rank() == got.rank() &&
                               (got.rank() == 1 || expected[1] == got[1]);
    if (!other_classes)
      throw FileError(str(name, ": these weights are of another network: ", own.name, " of shape ", expected,
                          " expected, got ", got, ". Is --model the one that they were trained with?"));
    if (own.name == "head.weight")
      lines.push_back(
          fmt::format("the head for {} classes is replaced by a new one for {}", got[0], expected[0]));
    weights.erase(found);
    ++replaced;
  }
  const LoadReport report = model.load_state(weights);
  for (const std::string& unexpected : report.unexpected)
    if (unexpected.find("lkb_reparam") != std::string::npos)
      throw FileError(str(name, ": a network as it was in training expected, but its kernels are merged (",
                          unexpected, "). Start from the checkpoint before 'replk reparam'."));
  if (report.missing.size() == tensors)
    throw FileError(str(name, ": weights of a RepLKNet expected, such as ", model.state().front().name,
                        ", but none of its ", pretrained.weights.size(), " tensors has such a name."));
  lines.insert(lines.begin(), fmt::format("starting from {}: {} of {} tensors", name,
                                          tensors - report.missing.size(), tensors));
  for (const std::string& note : pretrained.notes) lines.push_back(note);
  for (const std::string& missing : report.missing)
    if (replaced == 0 || !missing.starts_with("head.")) lines.push_back("missing in the file: " + missing);
  for (const std::string& unexpected : report.unexpected)
    lines.push_back("in the file, not in the network: " + unexpected);
  return lines;
}

}  // namespace replk
