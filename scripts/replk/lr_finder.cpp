#include "scripts/replk/lr_finder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "scripts/replk/command_line.h"
#include "scripts/replk/interrupt.h"
#include "scripts/replk/run_folder.h"
#include "scripts/replk/svg_chart.h"
#include "scripts/replk/train_parts.h"

namespace replk {
namespace {

constexpr double kFirstRate = 1e-7;
constexpr int kStepsInPowerOfTen = 20;
constexpr int kSmoothing = 4;  // deviation of the Gaussian, in steps
constexpr int kRecent = 5;     // losses of which the mean tells divergence
constexpr double kDivergence = 4, kLeastFall = 0.05, kShown = 2;

constexpr const char* kSweepCsv = "lr_finder.csv";
constexpr const char* kSweepChart = "lr_finder.svg";

std::size_t lowest(const std::vector<double>& values) {
  return static_cast<std::size_t>(std::min_element(values.begin(), values.end()) - values.begin());
}

// The steps, until the loss diverges or someone interrupts.
LrSweep sweep_rates(TrainParts& parts, const Interrupt& interrupt, Progress& progress) {
  LrSweep sweep;
  std::int64_t epoch = 0;
  parts.loader.start(epoch);
  for (int step = 0; step < kSweepSteps && !interrupt.requested(); ++step) {
    auto batch = parts.loader.next();
    if (!batch) {
      parts.loader.start(++epoch);
      batch = parts.loader.next();
    }
    const double lr = swept_learning_rate(step);
    try {
      sweep.loss.push_back(parts.trainer.step(*batch, lr).loss);
    } catch (const NonFiniteError&) {
      break;  // as far from falling as a loss can be
    }
    sweep.lr.push_back(lr);
    progress.show({fmt::format("step {}/{}", step + 1, kSweepSteps), fmt::format("lr {:.2e}", lr),
                   fmt::format("loss {:.4f}", sweep.loss.back())});
    if (has_diverged(sweep.loss)) break;
  }
  return sweep;
}

// What is found, as lines. `scale`: --lr times this is the rate (--lr-base-size).
std::string report(const LrSweep& sweep, const std::optional<LrSuggestion>& suggestion, double scale) {
  if (sweep.lr.empty()) return "not even the first loss was finite";
  const auto smoothed = smoothed_losses(sweep.loss);
  std::string text = fmt::format("{} steps, lr {:.2e} to {:.2e}{}; lowest loss {:.4f} at {:.2e} (smoothed)",
                                 sweep.lr.size(), sweep.lr.front(), sweep.lr.back(),
                                 sweep.lr.size() < kSweepSteps ? ", where the loss diverged" : "",
                                 smoothed[lowest(smoothed)], sweep.lr[lowest(smoothed)]);
  if (!suggestion) return text + "\nthe loss does not fall: no learning rate to suggest";
  text += fmt::format("\nwhere the loss falls fastest:       --lr {:.2g}", suggestion->steepest / scale);
  return text + fmt::format("\na tenth of where it is lowest:      --lr {:.2g}",
                            suggestion->tenth_of_minimum / scale);
}

}  // namespace

double swept_learning_rate(int step) {
  return kFirstRate * std::pow(10.0, static_cast<double>(step) / kStepsInPowerOfTen);
}

std::vector<double> smoothed_losses(const std::vector<double>& losses) {
  const int count = static_cast<int>(losses.size());
  std::vector<double> smoothed;
  for (int i = 0; i < count; ++i) {
    double sum = 0, weights = 0;
    for (int j = std::max(0, i - 3 * kSmoothing); j < std::min(count, i + 3 * kSmoothing + 1); ++j) {
      const double distance = static_cast<double>(j - i) / kSmoothing;
      const double weight = std::exp(-distance * distance / 2);
      sum += weight * losses[static_cast<std::size_t>(j)];
      weights += weight;
    }
    smoothed.push_back(sum / weights);
  }
  return smoothed;
}

bool has_diverged(const std::vector<double>& losses) {
  double least = std::numeric_limits<double>::infinity(), mean = 0;
  for (std::ptrdiff_t begin = 0; begin + kRecent <= std::ssize(losses); ++begin) {
    const auto first = losses.begin() + begin;
    mean = std::accumulate(first, first + kRecent, 0.0) / kRecent;
    least = std::min(least, mean);
  }
  return mean > kDivergence * least;
}

std::optional<LrSuggestion> suggest_learning_rate(const LrSweep& sweep) {
  const auto loss = smoothed_losses(sweep.loss);
  if (loss.empty()) return {};
  const std::size_t minimum = lowest(loss);
  if (loss[minimum] > (1 - kLeastFall) * loss.front()) return {};
  // Both ends are smoothed with half as many neighbours, and as much noise as that leaves.
  std::size_t steepest = std::min<std::size_t>(kSmoothing, minimum);
  const auto fall = [&](std::size_t i) { return loss[i - 1] - loss[i + 1]; };
  for (std::size_t i = steepest + 1; i + 1 <= minimum; ++i)
    if (fall(i) > fall(steepest)) steepest = i;
  return LrSuggestion{.steepest = sweep.lr[steepest], .tenth_of_minimum = sweep.lr[minimum] / 10};
}

std::string sweep_csv(const LrSweep& sweep) {
  const auto smoothed = smoothed_losses(sweep.loss);
  std::string text = "step,lr,loss,smoothed_loss\n";
  for (std::size_t i = 0; i < sweep.lr.size(); ++i)
    text += fmt::format("{},{},{},{}\n", i + 1, sweep.lr[i], sweep.loss[i], smoothed[i]);
  return text;
}

std::string sweep_chart(const std::string& title, const LrSweep& sweep,
                        const std::optional<LrSuggestion>& suggestion, double scale) {
  std::vector<Series> series = {{"loss", sweep.lr, sweep.loss},
                                {"smoothed", sweep.lr, smoothed_losses(sweep.loss)}};
  const double limit = sweep.lr.empty() ? 0 : kShown * series[1].y.front();
  double low = limit, high = 0;
  for (Series& line : series)
    for (double& y : line.y) {
      if (y > limit) y = std::numeric_limits<double>::quiet_NaN();
      low = std::fmin(low, y);
      high = std::fmax(high, y);
    }
  const auto mark = [&](const std::string& name, double lr) {
    series.push_back({fmt::format("{}: --lr {:.2g}", name, lr / scale), {lr, lr}, {low, high}});
  };
  if (suggestion) mark("falls fastest", suggestion->steepest);
  if (suggestion) mark("a tenth of the lowest", suggestion->tenth_of_minimum);
  return line_chart({.title = title, .x_label = "learning rate", .y_label = "cross entropy", .log_x = true},
                    series);
}

int find_learning_rate(TrainOptions options, Progress& progress) {
  options.ema = 0;
  TrainParts parts(options);
  progress.print(parts.describe());
  const Interrupt interrupt;
  const LrSweep sweep = sweep_rates(parts, interrupt, progress);
  if (interrupt.requested()) {
    progress.print("interrupted; nothing was written");
    return kExitInterrupted;
  }
  const auto suggestion = suggest_learning_rate(sweep);
  progress.print(report(sweep, suggestion, learning_rate_scale(options)));
  const RunFolder folder = RunFolder::create(options.out, options.data, options.model + "-lr");
  folder.write(kSweepCsv, sweep_csv(sweep));
  folder.write(kSweepChart, sweep_chart(options.model + " on " + parts.data.card.dataset, sweep, suggestion,
                                        learning_rate_scale(options)));
  progress.print(fmt::format("written: {}, {}", folder.file(kSweepChart).string(), kSweepCsv));
  return suggestion ? kExitOk : kExitNo;
}

}  // namespace replk
