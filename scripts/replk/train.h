// replk train: from options to a run folder.
#pragma once

#include <CLI/CLI.hpp>

#include "scripts/replk/train_options.h"

namespace replk {

/// Trains (or resumes, or only tries out) as the options say and returns an exit code: success, "no" when
/// --overfit-batch did not get there or --find-lr finds none, non-finite, interrupted. Everything else is
/// thrown as an Error.
int run_train(const TrainOptions& options);

CLI::App* add_train_command(CLI::App& app);

}  // namespace replk
