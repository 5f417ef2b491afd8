// replk train --find-lr: which learning rate to train with, from one short trial in which it rises.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "scripts/replk/progress.h"
#include "scripts/replk/train_options.h"

namespace replk {

/// One step after the other: the learning rate of a step and the loss of its batch before it.
struct LrSweep {
  std::vector<double> lr, loss;
};

struct LrSuggestion {
  double steepest = 0;          // where the smoothed loss falls fastest over the logarithm of the rate
  double tenth_of_minimum = 0;  // a tenth of the rate at which the smoothed loss is lowest
};

/// The learning rate of a step from 0: 1e-7 10^(step / 20), so 161 steps to 10.
double swept_learning_rate(int step);
inline constexpr int kSweepSteps = 161;

/// Each loss averaged with its neighbours, weighted by a Gaussian of 4 steps (a fifth of a power of ten).
std::vector<double> smoothed_losses(const std::vector<double>& losses);
/// True when the mean of the last 5 losses is above 4 times the lowest such mean.
bool has_diverged(const std::vector<double>& losses);
/// None when the smoothed loss does not fall by a twentieth of what it begins with.
std::optional<LrSuggestion> suggest_learning_rate(const LrSweep& sweep);
/// "step,lr,loss,smoothed_loss" and a line for each step.
std::string sweep_csv(const LrSweep& sweep);
/// The losses over the rate on a logarithmic axis, and the suggestions. What lies above twice the first
/// smoothed loss is left out. `scale`: --lr times this is the rate (--lr-base-size).
std::string sweep_chart(const std::string& title, const LrSweep& sweep,
                        const std::optional<LrSuggestion>& suggestion, double scale = 1);

/// Trains from the options' first weights with the rates of swept_learning_rate until the loss diverges,
/// prints the suggestions as values of --lr and writes lr_finder.csv and lr_finder.svg into a new run folder
/// (runs/<data>-<model>-lr-<n> or --out). The trained weights are dropped. Returns an exit code: success,
/// "no" when the loss does not fall, interrupted (then nothing is written). The same bits for the same seed.
int find_learning_rate(TrainOptions options, Progress& progress);

}  // namespace replk
