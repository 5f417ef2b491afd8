#include "scripts/replk/train_options.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/nearest_name.h"
#include "scripts/replk/run_folder.h"
#include "scripts/replk/text_file.h"
#include "scripts/replk/train_option_table.h"

namespace replk {
namespace {

using Json = nlohmann::ordered_json;

void set(TrainOptions& target, const TrainOption& option, const Json& value, const std::string& name,
         const std::string& shown) {
  if (value.is_discarded() || !option.read(target, value)) {
    const std::string expected = option.kind == "N"      ? "a whole number"
                                 : option.kind == "X"    ? "a number"
                                 : option.kind == "X,X"  ? "numbers with commas between"
                                 : option.kind == "JSON" ? "a JSON object"
                                 : option.kind.empty()   ? "true or false"
                                                         : "text";
    throw UsageError(str(name, ": ", expected, " expected, got '", shown, "'."));
  }
}

void read_options_file(TrainOptions& target, const std::filesystem::path& path) {
  read_train_options(target, read_text_file(path, "a JSON file of options"), path.string() + ": ");
}

}  // namespace

void add_train_flags(CLI::App& command, GivenFlags& given) {
  const TrainOptions defaults;
  for (const TrainOption& option : train_option_table()) {
    if (option.kind.empty()) {
      command.add_flag_function(
          option.flag(), [&given, &option](std::int64_t) { given[option.key] = "true"; }, option.help);
      continue;
    }
    CLI::Option* flag = command.add_option_function<std::string>(
        option.flag(), [&given, &option](const std::string& value) { given[option.key] = value; },
        option.help);
    flag->type_name(option.kind)->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    if (const std::string usual = flag_text(option.write(defaults)); !usual.empty()) flag->default_str(usual);
  }
}

void read_train_options(TrainOptions& target, const std::string& json, const std::string& source) {
  const Json object = Json::parse(json, nullptr, false);
  if (!object.is_object()) throw UsageError(source + "a JSON object of options expected.");
  for (const auto& [key, value] : object.items()) {
    const auto known = [&key = key](const TrainOption& o) { return o.in_files() && o.key == key; };
    const auto found = std::find_if(train_option_table().begin(), train_option_table().end(), known);
    if (found == train_option_table().end()) {
      std::vector<std::string> names;
      for (const TrainOption& option : train_option_table())
        if (option.in_files()) names.push_back(option.key);
      throw UsageError(
          str(source, "unknown option '", key, "'. Did you mean '", nearest_name(key, names), "'?"));
    }
    set(target, *found, value, str(source, "'", key, "'"), value.dump());
  }
}

TrainOptions read_run_options(const std::filesystem::path& run) {
  TrainOptions result;
  read_options_file(result, RunFolder::open(run).file(kConfigFile));
  return result;
}

std::string to_json(const TrainOptions& source) {
  Json object;
  for (const TrainOption& option : train_option_table())
    if (option.lasts != TrainOption::Lasts::process) object[option.key] = option.write(source);
  return object.dump(2) + "\n";
}

TrainOptions resolve_train_options(const GivenFlags& given) {
  TrainOptions result;
  const bool resuming = given.contains("resume");
  if (resuming) {
    result = read_run_options(given.at("resume"));
  } else if (given.contains("config")) {
    read_options_file(result, given.at("config"));
  }
  for (const TrainOption& option : train_option_table()) {
    const auto found = given.find(option.key);
    if (found == given.end()) continue;
    const Json before = option.write(result);
    set(result, option, option.from_text(found->second), option.flag(), found->second);
    const bool changed = option.write(result) != before;
    if (resuming && (option.key == "out" || option.key == "config"))
      throw UsageError(str(option.flag(),
                           ": cannot go with --resume, which continues in the run's folder "
                           "with the run's configuration."));
    if (resuming && changed && option.lasts == TrainOption::Lasts::run)
      throw UsageError(str(option.flag(), ": --resume continues with the run's own value, ", before.dump(),
                           ". To change it start a new run."));
  }
  validate(result);
  return result;
}

std::int64_t part_size(const TrainOptions& options) {
  return (options.batch_size + options.accumulate - 1) / options.accumulate;
}

std::int64_t validation_batch_size(const TrainOptions& options) {
  constexpr std::int64_t kMost = 256;  // more are not computed faster
  return std::min(part_size(options), kMost);
}

}  // namespace replk
