#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "data/codec.h"
#include "io/atomic_file.h"
#include "models/published_weights.h"
#include "scripts/replk/checkpoint.h"
#include "scripts/replk/command_line.h"
#include "scripts/replk/commands.h"
#include "scripts/replk/table.h"
#include "scripts/replk/tensor_report.h"
#include "scripts/replk/text.h"
#include "scripts/replk/weights_file.h"

namespace replk {
namespace {

using Json = nlohmann::ordered_json;

struct InspectFlags {
  std::string file, other, entry, filter, kernels;
  std::int64_t smallest = 5;
  bool json = false;
};

Json shape_json(const Shape& shape) { return Json(std::vector<std::int64_t>(shape.begin(), shape.end())); }

std::string number(double value) { return std::isnan(value) ? "-" : fmt::format("{:.4g}", value); }

Json number_json(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

NamedTensors filtered(const NamedTensors& tensors, const std::string& filter) {
  NamedTensors result;
  for (const auto& [name, tensor] : tensors)
    if (name.find(filter) != std::string::npos) result.emplace(name, tensor);
  return result;
}

std::int64_t count_elements(const NamedTensors& tensors) {
  std::int64_t count = 0;
  for (const auto& [name, tensor] : tensors) count += tensor.numel();
  return count;
}

void print_listing(const std::string& path, const WeightsFile& file) {
  using enum Table::Align;
  Table table({{"tensor"},
               {"dtype"},
               {"shape"},
               {"min", right},
               {"max", right},
               {"mean", right},
               {"std", right},
               {""}});
  std::uint64_t bytes = 0;
  for (const auto& [name, tensor] : file.tensors) {
    const TensorStatistics s = statistics_of(tensor);
    bytes += tensor.bytes();
    table.add({printable(name), name_of(tensor.dtype()), str(tensor.shape()), number(s.min), number(s.max),
               number(s.mean), number(s.std),
               s.not_finite > 0 ? fmt::format("{} not finite", s.not_finite) : ""});
  }
  fmt::print("{}: {}\n\n{}\n", printable(path),
             file.format == WeightsFormat::pytorch ? "PyTorch checkpoint" : "safetensors", table.text());
  fmt::print("{} tensors, {} elements, {}\n", format_count(static_cast<std::int64_t>(file.tensors.size())),
             format_count(count_elements(file.tensors)), format_bytes(bytes));
  constexpr std::size_t kColumns = 120;
  for (const auto& [key, text] : file.metadata)
    fmt::print("metadata {}: {}\n", printable(key), cut_text(printable(text), kColumns));
}

Json listing_json(const std::string& path, const WeightsFile& file) {
  Json list = Json::array();
  for (const auto& [name, tensor] : file.tensors) {
    const TensorStatistics s = statistics_of(tensor);
    list.push_back({{"name", name},
                    {"dtype", name_of(tensor.dtype())},
                    {"shape", shape_json(tensor.shape())},
                    {"min", number_json(s.min)},
                    {"max", number_json(s.max)},
                    {"mean", number_json(s.mean)},
                    {"std", number_json(s.std)},
                    {"not_finite", s.not_finite}});
  }
  return {{"file", path},
          {"elements", count_elements(file.tensors)},
          {"tensors", list},
          {"metadata", file.metadata},
          {"notes", file.notes}};
}

void print_differences(const TensorDifferences& differences) {
  const auto list = [](const char* title, const std::vector<std::string>& names) {
    if (names.empty()) return;
    fmt::print("{} ({}):\n", title, names.size());
    for (const std::string& name : names) fmt::print("  {}\n", printable(name));
  };
  list("only in the first", differences.only_in_first);
  list("only in the second", differences.only_in_second);
  if (!differences.shapes.empty()) {
    Table table({{"of another shape"}, {"first"}, {"second"}});
    for (const auto& entry : differences.shapes)
      table.add({printable(entry.name), str(entry.first), str(entry.second)});
    fmt::print("{}", table.text());
  }
  if (!differences.values.empty()) {
    Table table({{"of other values"},
                 {"largest difference", Table::Align::right},
                 {"relative", Table::Align::right}});
    for (const auto& entry : differences.values)
      table.add({printable(entry.name), fmt::format("{:.3g}", entry.largest),
                 fmt::format("{:.2g}", entry.relative)});
    fmt::print("{}", table.text());
  }
  fmt::print("{} tensors are equal\n", format_count(differences.equal));
}

Json differences_json(const TensorDifferences& differences) {
  Json shapes = Json::array(), values = Json::array();
  for (const auto& entry : differences.shapes)
    shapes.push_back(
        {{"name", entry.name}, {"first", shape_json(entry.first)}, {"second", shape_json(entry.second)}});
  for (const auto& entry : differences.values)
    values.push_back({{"name", entry.name},
                      {"largest", number_json(entry.largest)},
                      {"relative", number_json(entry.relative)}});
  return {{"only_in_first", differences.only_in_first},
          {"only_in_second", differences.only_in_second},
          {"shapes", shapes},
          {"values", values},
          {"equal", differences.equal}};
}

// Names without "module." and "backbone.", so that a file from PyTorch can be compared with ours.
NamedTensors comparable(WeightsFile& file, const std::string& filter) {
  PublishedWeights published = with_published_names(std::move(file.tensors));
  file.notes.insert(file.notes.end(), published.notes.begin(), published.notes.end());
  return filtered(published.tensors, filter);
}

void print_notes(const std::vector<std::string>& notes) {
  for (const std::string& note : notes) fmt::print(stderr, "replk: note: {}\n", printable(note));
}

void run_inspect(const InspectFlags& flags) {
  const std::filesystem::path path = find_checkpoint(flags.file);
  WeightsFile file = read_weights(path, flags.entry);
  const auto dump = [](const Json& json) {
    fmt::print("{}\n", json.dump(2, ' ', false, Json::error_handler_t::replace));
  };
  if (!flags.kernels.empty()) {
    const auto png = encode_png(kernel_picture(filtered(file.tensors, flags.filter), flags.smallest));
    write_file_atomically(flags.kernels, std::as_bytes(std::span(png)));
    print_notes(file.notes);
    fmt::print("saved: {}\n", flags.kernels);
    return;
  }
  if (flags.other.empty()) {
    file.tensors = filtered(file.tensors, flags.filter);
    if (flags.json) return dump(listing_json(path.string(), file));
    print_notes(file.notes);
    return print_listing(path.string(), file);
  }
  WeightsFile other = read_weights(find_checkpoint(flags.other));
  const TensorDifferences differences =
      compare_tensors(comparable(file, flags.filter), comparable(other, flags.filter));
  if (flags.json) {
    dump(differences_json(differences));
  } else {
    print_notes(file.notes);
    print_notes(other.notes);
    print_differences(differences);
  }
  std::fflush(stdout);
  if (!differences.none()) throw CLI::RuntimeError(kExitNo);
}

}  // namespace

CLI::App* add_inspect_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "inspect", "Lists the tensors of a file, compares two files, or draws depth-wise kernels");
  const auto flags = std::make_shared<InspectFlags>();
  command->add_option("file", flags->file, "Any .safetensors, .pth or .pt file, or the folder of a run")
      ->required();
  CLI::Option* other =
      command->add_option("other", flags->other, "Compare with this file (exit code 1: they differ)");
  command->add_option("--entry", flags->entry,
                      "Which weights of a PyTorch checkpoint (file), such as model_ema");
  command->add_option("--filter", flags->filter, "Only tensors with this text in their name");
  command->add_flag("--json", flags->json, "Print JSON");
  CLI::Option* kernels =
      command->add_option("--kernels", flags->kernels, "Draw depth-wise kernels into this PNG file")
          ->excludes(other);
  command->add_option("--smallest", flags->smallest, "Draw kernels of at least so many pixels a side")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str()
      ->needs(kernels);
  command->callback([flags] { run_inspect(*flags); });
  return command;
}

}  // namespace replk
