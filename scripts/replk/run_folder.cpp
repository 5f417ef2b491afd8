#include "scripts/replk/run_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <system_error>

#include "core/error.h"
#include "io/atomic_file.h"
#include "scripts/replk/text.h"
#include "scripts/replk/text_file.h"

namespace replk {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json row_as_json(const EpochMetrics& row) {
  return {{"epoch", row.epoch},
          {"step", row.step},
          {"train_loss", number(row.train_loss)},
          {"train_accuracy", number(row.train_accuracy)},
          {"val_loss", number(row.val_loss)},
          {"val_accuracy", number(row.val_accuracy)},
          {"val_loss_ema", number(row.val_loss_ema)},
          {"val_accuracy_ema", number(row.val_accuracy_ema)},
          {"lr", number(row.lr)},
          {"images_per_second", number(row.images_per_second)},
          {"seconds", number(row.seconds)}};
}

double number_or_nan(const Json& value) {
  return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
}

// The same of a key that older files do not have.
double number_or_nan(const Json& object, const char* key) {
  return object.contains(key) ? number_or_nan(object.at(key)) : number_or_nan(nullptr);
}

// Makes `path`; false when it is there already.
bool make_folder(const fs::path& path) {
  std::error_code error;
  const bool made = fs::create_directory(path, error);
  if (error) throw FileError(str(path.string(), ": cannot make this folder: ", error.message(), "."));
  return made;
}

void make_parents(const fs::path& path) {
  std::error_code error;
  if (path.has_parent_path()) fs::create_directories(path.parent_path(), error);
  if (error)
    throw FileError(str(path.parent_path().string(), ": cannot make this folder: ", error.message(), "."));
}

// The name of a data set as part of a folder's name.
std::string short_name(const std::string& data) {
  fs::path path(data);
  if (!path.has_filename()) path = path.parent_path();  // "pictures/"
  return path.filename().empty() ? "data" : path.filename().string();
}

constexpr std::string_view kEpochPrefix = "epoch_";

std::string epoch_file_name(std::int64_t epoch) {
  return fmt::format("{}{:04}.safetensors", kEpochPrefix, epoch);
}

// The epoch whose file has this name; none for any other name.
std::optional<std::int64_t> epoch_of(const std::string& name) {
  std::int64_t epoch = -1;
  if (!name.starts_with(kEpochPrefix)) return {};
  std::from_chars(name.data() + kEpochPrefix.size(), name.data() + name.size(), epoch);
  return epoch >= 1 && name == epoch_file_name(epoch) ? std::optional(epoch) : std::nullopt;
}

}  // namespace

std::string metrics_csv(const std::vector<EpochMetrics>& rows) {
  std::vector<std::string> cells;
  const Json keys = row_as_json({});
  for (const auto& [key, value] : keys.items()) cells.push_back(key);
  std::string text = join(cells, ",") + "\n";
  for (const EpochMetrics& row : rows) {
    cells.clear();
    for (const Json& value : row_as_json(row)) cells.push_back(value.is_null() ? "" : value.dump());
    text += join(cells, ",") + "\n";
  }
  return text;
}

std::string metrics_jsonl(const std::vector<EpochMetrics>& rows) {
  std::string text;
  for (const EpochMetrics& row : rows) text += row_as_json(row).dump() + "\n";
  return text;
}

std::vector<EpochMetrics> read_metrics_jsonl(const std::string& text, const std::string& source) {
  std::vector<EpochMetrics> rows;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    try {
      const Json object = Json::parse(line);
      rows.push_back({.epoch = object.at("epoch").get<std::int64_t>(),
                      .step = object.at("step").get<std::int64_t>(),
                      .train_loss = number_or_nan(object.at("train_loss")),
                      .train_accuracy = number_or_nan(object.at("train_accuracy")),
                      .val_loss = number_or_nan(object.at("val_loss")),
                      .val_accuracy = number_or_nan(object.at("val_accuracy")),
                      .val_loss_ema = number_or_nan(object, "val_loss_ema"),
                      .val_accuracy_ema = number_or_nan(object, "val_accuracy_ema"),
                      .lr = number_or_nan(object.at("lr")),
                      .images_per_second = number_or_nan(object.at("images_per_second")),
                      .seconds = number_or_nan(object.at("seconds"))});
    } catch (const nlohmann::json::exception&) {
      throw FileError(
          str(source, ": line ", rows.size() + 1, ": a JSON object of an epoch's metrics expected."));
    }
  }
  return rows;
}

Curves curves_of(const std::vector<EpochMetrics>& rows) {
  std::vector<Series> lines = {{"training", {}, {}}, {"validation", {}, {}}};
  const auto averaged = [](const EpochMetrics& row) { return std::isfinite(row.val_loss_ema); };
  if (std::any_of(rows.begin(), rows.end(), averaged))
    lines.push_back({"validation, averaged weights", {}, {}});
  Curves curves{.loss = lines, .accuracy = lines, .learning_rate = {{"", {}, {}}}};
  const auto add = [](Series& series, double x, double y) {
    series.x.push_back(x);
    series.y.push_back(y);
  };
  for (const EpochMetrics& row : rows) {
    const double epoch = static_cast<double>(row.epoch);
    const double losses[] = {row.train_loss, row.val_loss, row.val_loss_ema};
    const double accuracies[] = {row.train_accuracy, row.val_accuracy, row.val_accuracy_ema};
    for (std::size_t i = 0; i < lines.size(); ++i) {
      add(curves.loss[i], epoch, losses[i]);
      add(curves.accuracy[i], epoch, accuracies[i]);
    }
    add(curves.learning_rate.front(), epoch, row.lr);
  }
  return curves;
}

RunFolder RunFolder::create(const std::string& out, const std::string& data, const std::string& model) {
  if (out.empty()) {
    for (int n = 1;; ++n) {
      const fs::path path = fs::path("runs") / str(short_name(data), "-", model, "-", n);
      make_parents(path);
      if (make_folder(path)) return RunFolder(path);
    }
  }
  require_free(out);
  const fs::path path(out);
  make_parents(path);
  make_folder(path);
  return RunFolder(path);
}

void RunFolder::require_free(const std::string& out) {
  std::error_code error;
  if (out.empty() || !fs::exists(out, error)) return;
  if (!fs::is_directory(out, error)) throw UsageError(str("--out: ", out, " is a file, a folder expected."));
  replk::remove_leftovers(out);  // of a run that was killed as it began
  if (fs::is_empty(out, error)) return;
  const bool run = fs::exists(fs::path(out) / kConfigFile, error);
  throw UsageError(str("--out: ", out, " exists already. ",
                       run ? str("Continue that run with --resume ", out, ", or choose") : "Choose",
                       " another name."));
}

RunFolder RunFolder::open(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path / kConfigFile, error))
    throw FileError(str(path.string(), ": a run folder with ", kConfigFile, " expected."));
  return RunFolder(path);
}

void RunFolder::remove_leftovers() const {
  for (const fs::path& folder : {path_, path_ / "batches"}) replk::remove_leftovers(folder);
}

fs::path RunFolder::epoch_file(std::int64_t epoch) const { return path_ / epoch_file_name(epoch); }

void RunFolder::remove_epoch_files_except(const std::vector<std::int64_t>& epochs) const {
  std::vector<fs::path> surplus;
  for (const auto& entry : fs::directory_iterator(path_)) {
    const auto epoch = epoch_of(entry.path().filename().string());
    if (epoch && std::find(epochs.begin(), epochs.end(), *epoch) == epochs.end())
      surplus.push_back(entry.path());
  }
  for (const fs::path& path : surplus) {
    std::error_code error;
    fs::remove(path, error);
    if (error) throw FileError(str(path.string(), ": cannot be removed: ", error.message(), "."));
  }
}

void RunFolder::write(const char* name, const std::string& text) const {
  write_file_atomically(file(name), std::string_view(text));
}

std::vector<EpochMetrics> RunFolder::read_metrics() const {
  const fs::path path = file(kMetricsJsonl);
  std::error_code error;
  if (!fs::exists(path, error)) return {};
  return read_metrics_jsonl(read_text_file(path, "metrics"), path.string());
}

void RunFolder::write_metrics(const std::string& title, const std::vector<EpochMetrics>& rows) const {
  write(kMetricsCsv, metrics_csv(rows));
  write(kMetricsJsonl, metrics_jsonl(rows));
  const Curves curves = curves_of(rows);
  write(kCurvesFile, learning_curves(title, curves.loss, curves.accuracy));
}

void RunFolder::write_confusion(const std::string& title, const std::vector<std::string>& classes,
                                const Evaluation& evaluation) const {
  write(kConfusionFile, confusion_matrix(title, classes, evaluation.confusion));
}

}  // namespace replk
