// The options of a run as people read them.
#pragma once

#include <string>
#include <vector>

#include "scripts/replk/train_options.h"

namespace replk {

struct OptionRow {
  std::string key, flag, value, usual, help;  // usual: the default; empty: none
  bool on_off = false;                        // a flag without a value
  bool changed = false;                       // not the default
};
/// What config.json holds, in the order of --help.
std::vector<OptionRow> option_rows(const TrainOptions& options);

/// The command that repeats a run in a folder of its own: `replk train` and a flag for each changed option.
std::string train_command(const TrainOptions& options);

}  // namespace replk
