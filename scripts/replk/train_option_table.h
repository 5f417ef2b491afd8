// The table of options that `replk train` has: what flags, JSON files and config.json are made from.
#pragma once

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "scripts/replk/train_options.h"

namespace replk {

/// One option: its name, how it is read from JSON and written to it. A flag's text becomes JSON first, so
/// that there is one way to set an option.
struct TrainOption {
  using Json = nlohmann::ordered_json;
  /// In config.json; so, but --resume may change it; not in it.
  enum class Lasts { run, resumable, process };

  std::string key, help, kind;  // kind: what --help shows for the value; empty: a switch
  Lasts lasts;
  std::function<Json(const std::string&)> from_text;     // discarded when it is nothing of the kind
  std::function<bool(TrainOptions&, const Json&)> read;  // false: of another type
  std::function<Json(const TrainOptions&)> write;

  /// A file cannot name another file or run to start from.
  bool in_files() const { return key != "config" && key != "resume"; }
  std::string flag() const {
    std::string name = "--" + key;
    std::replace(name.begin(), name.end(), '_', '-');
    return name;
  }
};

/// A value as it is written after a flag: "0.9,0.95", "none"; empty for null.
std::string flag_text(const TrainOption::Json& value);

/// All options, in the order in which --help lists them.
const std::vector<TrainOption>& train_option_table();

}  // namespace replk
