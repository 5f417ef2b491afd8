// RunFolder: what a training run leaves behind.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "scripts/replk/evaluate.h"
#include "scripts/replk/svg_chart.h"

namespace replk {

inline constexpr const char* kConfigFile = "config.json";
inline constexpr const char* kModelFile = "model.json";
inline constexpr const char* kMetricsCsv = "metrics.csv";
inline constexpr const char* kMetricsJsonl = "metrics.jsonl";
inline constexpr const char* kCurvesFile = "curves.svg";
inline constexpr const char* kConfusionFile = "confusion.svg";
inline constexpr const char* kLastFile = "last.safetensors";
inline constexpr const char* kBestFile = "best.safetensors";
inline constexpr const char* kBestEmaFile = "best_ema.safetensors";
inline constexpr const char* kReportFile = "report.html";
inline constexpr const char* kStateFile = "last.optimizer.safetensors";

/// One row of the metrics. Without validation, or an average of the weights, those numbers are NaN: empty in
/// CSV, null in JSON.
struct EpochMetrics {
  std::int64_t epoch = 0, step = 0;  // both counted from 1: epochs and steps done
  double train_loss = 0, train_accuracy = 0;
  double val_loss = 0, val_accuracy = 0;
  double val_loss_ema = std::numeric_limits<double>::quiet_NaN();  // of the averaged weights
  double val_accuracy_ema = std::numeric_limits<double>::quiet_NaN();
  double lr = 0;                              // of the last step
  double images_per_second = 0, seconds = 0;  // training alone; with validation
};

/// "epoch,step,train_loss,..." and a line for each row, numbers with every digit they have.
std::string metrics_csv(const std::vector<EpochMetrics>& rows);
/// One JSON object a line.
std::string metrics_jsonl(const std::vector<EpochMetrics>& rows);
/// Reads what metrics_jsonl wrote. Throws FileError naming `source` and the line.
std::vector<EpochMetrics> read_metrics_jsonl(const std::string& text, const std::string& source);

/// The lines of a run: training, validation and, where there were any, averaged weights; with no point for a
/// number that is NaN.
struct Curves {
  std::vector<Series> loss, accuracy, learning_rate;
};
Curves curves_of(const std::vector<EpochMetrics>& rows);

/// The folder of one run. Every file in it is replaced as a whole or not at all.
class RunFolder {
 public:
  /// Makes `out`, or runs/<data>-<model>-<n> with the first free n when `out` is empty. Throws UsageError
  /// when there is something in it already, FileError when it cannot be made.
  static RunFolder create(const std::string& out, const std::string& data, const std::string& model);
  /// Throws what create would throw for a folder that is in use. An empty `out` is always free.
  static void require_free(const std::string& out);
  /// A folder that is there. Throws FileError when there is no run in it.
  static RunFolder open(const std::filesystem::path& path);

  /// Removes what a process that was killed while it wrote has left here.
  void remove_leftovers() const;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path file(const char* name) const { return path_ / name; }
  /// "epoch_0012.safetensors": the weights after an epoch, counted from 1.
  std::filesystem::path epoch_file(std::int64_t epoch) const;
  /// Removes the files of all epochs but these. Throws FileError for one that cannot be removed.
  void remove_epoch_files_except(const std::vector<std::int64_t>& epochs) const;
  void write(const char* name, const std::string& text) const;
  /// The rows of metrics.jsonl; none where there is no such file. Throws FileError for one that is broken.
  std::vector<EpochMetrics> read_metrics() const;
  /// metrics.csv, metrics.jsonl and curves.svg.
  void write_metrics(const std::string& title, const std::vector<EpochMetrics>& rows) const;
  /// confusion.svg
  void write_confusion(const std::string& title, const std::vector<std::string>& classes,
                       const Evaluation& evaluation) const;

 private:
  explicit RunFolder(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

}  // namespace replk
