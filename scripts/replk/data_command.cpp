#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "data/codec.h"
#include "data/contact_sheet.h"
#include "data/statistics.h"
#include "io/atomic_file.h"
#include "scripts/replk/commands.h"
#include "scripts/replk/common_flags.h"
#include "scripts/replk/table.h"
#include "scripts/replk/text.h"

namespace replk {
namespace {

struct DataCommandFlags {
  DataFlags data;
  std::string sheet;
  std::int64_t rows = 10, columns = 10;
};

std::string size_text(const std::array<std::int64_t, 3>& size) {
  return fmt::format("{}x{}", size[0], size[1]);
}

// "28x28", or how many different sizes there are.
std::string sizes_text(const DatasetStatistics& statistics) {
  if (statistics.sizes.empty()) return "-";
  const auto most = std::max_element(statistics.sizes.begin(), statistics.sizes.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  if (statistics.sizes.size() == 1) return size_text(most->first);
  return fmt::format("{} sizes, heights from {} to {}; most often {} ({} images)", statistics.sizes.size(),
                     statistics.sizes.begin()->first[0], statistics.sizes.rbegin()->first[0],
                     size_text(most->first), format_count(most->second));
}

std::string numbers(const std::vector<double>& values) {
  std::vector<std::string> texts;
  for (const double value : values) texts.push_back(fmt::format("{:.4f}", value));
  return join(texts);
}

void print_statistics(const Dataset& dataset) {
  const DatasetStatistics statistics = dataset_statistics(dataset);
  const auto& names = dataset.classes();
  Table facts({{"images"}, {format_count(dataset.size())}});
  facts.add({"classes", format_count(static_cast<std::int64_t>(names.size()))});
  facts.add({"size", sizes_text(statistics)});
  facts.add(
      {"channels", statistics.mean.size() == 1 ? "1 (grey)" : fmt::format("{}", statistics.mean.size())});
  facts.add({"mean", numbers(statistics.mean)});
  facts.add({"std", numbers(statistics.deviation)});
  fmt::print("{}\n\n{}", dataset.name(), facts.text());
  if (statistics.images < dataset.size())
    fmt::print("(size, mean and std from {} of them)\n", format_count(statistics.images));

  using enum Table::Align;
  Table table({{"label", right}, {"class"}, {"images", right}, {"share", right}});
  for (std::size_t i = 0; i < names.size(); ++i) {
    const double count = static_cast<double>(statistics.class_counts[i]);
    table.add({std::to_string(i), printable(names[i]), format_count(statistics.class_counts[i]),
               format_percent(count / static_cast<double>(dataset.size()), 1)});
  }
  fmt::print("\n{}", table.text());
}

void run_data(const DataCommandFlags& flags) {
  const auto dataset = flags.data.open();
  print_statistics(*dataset);
  if (flags.sheet.empty()) return;
  const std::vector<std::uint8_t> png = encode_png(contact_sheet(*dataset, flags.rows, flags.columns));
  write_file_atomically(flags.sheet, std::as_bytes(std::span(png)));
  fmt::print("\ncontact sheet: {}\n", flags.sheet);
}

}  // namespace

CLI::App* add_data_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("data", "What a data set holds, in numbers and as one picture");
  const auto flags = std::make_shared<DataCommandFlags>();
  flags->data.split = "train";
  command->add_option("data", flags->data.name, "A name (fashion-mnist, cifar10, cifar100) or a folder")
      ->required();
  command->add_option("--data-root", flags->data.root,
                      "Folder of the named data sets (default: $REPLK_DATA or /usr/share/datasets)");
  command->add_option("--split", flags->data.split, "Part of the data set: train, validation or test")
      ->capture_default_str();
  command->add_option("--sheet", flags->sheet, "Write a contact sheet to this PNG file, a class in each row");
  command->add_option("--rows", flags->rows, "Rows of the sheet")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--cols", flags->columns, "Columns of the sheet")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  add_threads_flag(*command);
  command->callback([flags] { run_data(*flags); });
  return command;
}

}  // namespace replk
