#include "scripts/replk/train_options.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.h"
#include "core/nearest_name.h"
#include "scripts/replk/compute.h"
#include "scripts/replk/kernel_report.h"
#include "scripts/replk/run_folder.h"

namespace replk {
namespace {

using Json = nlohmann::ordered_json;

enum class Lasts { run, resumable, process };  // in config.json; so, but --resume may change it; not in it

// One option: its name, how it is read from JSON and written to it. A flag's text becomes JSON first, so that
// there is one way to set an option.
struct Option {
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

Json number_from(const std::string& text) {
  const Json value = Json::parse(text, nullptr, false);
  return value.is_number() ? value : Json(Json::value_t::discarded);
}

Option whole_number(std::string key, std::int64_t TrainOptions::*member, Lasts lasts, std::string help) {
  return {key,
          help,
          "N",
          lasts,
          number_from,
          [member](TrainOptions& o, const Json& value) {
            if (!value.is_number_integer()) return false;
            o.*member = value.get<std::int64_t>();
            return true;
          },
          [member](const TrainOptions& o) { return Json(o.*member); }};
}

Option number(std::string key, double TrainOptions::*member, Lasts lasts, std::string help) {
  return {key,
          help,
          "X",
          lasts,
          number_from,
          [member](TrainOptions& o, const Json& value) {
            if (!value.is_number()) return false;
            o.*member = value.get<double>();
            return true;
          },
          [member](const TrainOptions& o) { return Json(o.*member); }};
}

Option text(std::string key, std::string TrainOptions::*member, std::string kind, Lasts lasts,
            std::string help) {
  return {key,
          help,
          kind,
          lasts,
          [](const std::string& given) { return Json(given); },
          [member](TrainOptions& o, const Json& value) {
            if (!value.is_string()) return false;
            o.*member = value.get<std::string>();
            return true;
          },
          [member](const TrainOptions& o) { return Json(o.*member); }};
}

Option on_off(std::string key, bool TrainOptions::*member, Lasts lasts, std::string help) {
  return {key,
          help,
          "",
          lasts,
          [](const std::string& given) { return Json(given == "true"); },
          [member](TrainOptions& o, const Json& value) {
            if (!value.is_boolean()) return false;
            o.*member = value.get<bool>();
            return true;
          },
          [member](const TrainOptions& o) { return Json(o.*member); }};
}

Option drop_path_option() {
  return {"drop_path",
          "largest drop path probability, at the last block (the model's own)",
          "X",
          Lasts::run,
          number_from,
          [](TrainOptions& o, const Json& value) {
            if (!value.is_number() && !value.is_null()) return false;
            o.drop_path = value.is_null() ? std::nullopt : std::optional(value.get<double>());
            return true;
          },
          [](const TrainOptions& o) { return o.drop_path ? Json(*o.drop_path) : Json(nullptr); }};
}

Option model_config_option() {
  return {"model_config",
          "options of the network over those of the model: '{\"channels\": [32, 64]}'",
          "JSON",
          Lasts::run,
          [](const std::string& given) { return Json::parse(given, nullptr, false); },
          [](TrainOptions& o, const Json& value) {
            if (!value.is_object() && !value.is_null()) return false;
            o.model_config = value.is_null() ? "" : value.dump();
            return true;
          },
          [](const TrainOptions& o) {
            return o.model_config.empty() ? Json(nullptr) : Json::parse(o.model_config, nullptr, false);
          }};
}

Option augment_option() {
  return {"augment",
          "any of flip, crop, erase, resized-crop, with commas between; or none",
          "NAMES",
          Lasts::run,
          [](const std::string& given) {
            Json names = Json::array();
            std::istringstream parts(given == "none" ? "" : given);
            for (std::string name; std::getline(parts, name, ',');) names.push_back(name);
            return names;
          },
          [](TrainOptions& o, const Json& value) {
            if (!value.is_array() ||
                !std::all_of(value.begin(), value.end(), [](const Json& name) { return name.is_string(); }))
              return false;
            o.augment = value.get<std::vector<std::string>>();
            return true;
          },
          [](const TrainOptions& o) { return Json(o.augment); }};
}

std::vector<Option> make_options() {
  using O = TrainOptions;
  using enum Lasts;
  return {
      text("data", &O::data, "NAME|FOLDER", run, "data set, or a folder with one"),
      text("data_root", &O::data_root, "FOLDER", run, "where named data sets are ($REPLK_DATA)"),
      text("model", &O::model, "NAME", run, "preset of the network"),
      model_config_option(),
      whole_number("epochs", &O::epochs, resumable,
                   "passes over the training images; the schedule is stretched over them"),
      whole_number("batch_size", &O::batch_size, run, "images in a step"),
      text("optimizer", &O::optimizer, "NAME", run, "adamw or sgd"),
      number("lr", &O::lr, run, "highest learning rate"),
      number("weight_decay", &O::weight_decay, run, "of weights, not of biases and batch norms"),
      number("momentum", &O::momentum, run, "of sgd"),
      on_off("nesterov", &O::nesterov, run, "Nesterov momentum for sgd"),
      text("schedule", &O::schedule, "NAME", run, "cosine, constant or step"),
      number("warmup_epochs", &O::warmup_epochs, run, "epochs in which the learning rate rises"),
      number("min_lr", &O::min_lr, run, "lowest learning rate of cosine and step"),
      number("step_epochs", &O::step_epochs, run, "schedule step: epochs between two cuts"),
      number("step_gamma", &O::step_gamma, run, "schedule step: what the rate is multiplied by"),
      number("label_smoothing", &O::label_smoothing, run, "share of the target spread over all classes"),
      drop_path_option(),
      number("clip_grad", &O::clip_grad, run, "largest norm of the gradient; 0: any"),
      augment_option(),
      whole_number("crop_padding", &O::crop_padding, run, "augment crop: pixels around the image"),
      number("erase_prob", &O::erase_prob, run, "augment erase: share of the images"),
      whole_number("image_size", &O::image_size, run, "resize to so many pixels a side; 0: as they are"),
      number("val_split", &O::val_split, run,
             "training images kept for validation: a share below 1, or a number"),
      whole_number("limit", &O::limit, run, "use at most so many images; 0: all"),
      whole_number("workers", &O::workers, resumable, "threads that prepare batches"),
      whole_number("threads", &O::threads, resumable, "threads that compute; 0: one a processor"),
      whole_number("seed", &O::seed, run, "of everything random"),
      text("device", &O::device, "NAME", resumable, "auto (a GPU where there is one), cpu or cuda"),
      text("precision", &O::precision, "NAME", resumable,
           "fp32; on a GPU also tf32 (faster products) or bf16 (activations in bf16, weights in f32)"),
      text("depthwise_kernel", &O::depthwise_kernel, "NAME", run,
           "kernel of depth-wise convolutions where it applies: automatic (the fastest), fft or direct "
           "(CPU), tensor_core (GPU) or naive"),
      whole_number("save_every", &O::save_every, resumable, "epochs between two checkpoints"),
      text("out", &O::out, "FOLDER", process, "run folder (runs/<data>-<model>-<n>)"),
      text("resume", &O::resume, "RUN", process, "continue the run in this folder"),
      text("config", &O::config, "FILE", process, "JSON file of options; flags come first"),
      whole_number("stop_after", &O::stop_after, process, "end after so many epochs, to be resumed"),
      on_off("overfit_batch", &O::overfit_batch, process,
             "train on one batch until its loss is nearly 0: a quick test of everything"),
      on_off("dry_run", &O::dry_run, process, "build everything, run one step, write nothing"),
      on_off("profile", &O::profile, process, "say where the time went"),
  };
}

const std::vector<Option>& options() {
  static const std::vector<Option> kOptions = make_options();
  return kOptions;
}

void set(TrainOptions& target, const Option& option, const Json& value, const std::string& name,
         const std::string& shown) {
  if (value.is_discarded() || !option.read(target, value)) {
    const std::string expected = option.kind == "N"      ? "a whole number"
                                 : option.kind == "X"    ? "a number"
                                 : option.kind == "JSON" ? "a JSON object"
                                 : option.kind.empty()   ? "true or false"
                                                         : "text";
    throw UsageError(str(name, ": ", expected, " expected, got '", shown, "'."));
  }
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) throw FileError(str(path.string(), ": a JSON file of options expected, it cannot be read."));
  return text.str();
}

void require_name(const char* flag, const std::string& name, const std::vector<std::string>& known) {
  if (std::find(known.begin(), known.end(), name) == known.end())
    throw UsageError(
        str(flag, ": there is no '", name, "'. Did you mean '", nearest_name(name, known), "'?"));
}

}  // namespace

void add_train_flags(CLI::App& command, GivenFlags& given) {
  const TrainOptions defaults;
  for (const Option& option : options()) {
    if (option.kind.empty()) {
      command.add_flag_function(
          option.flag(), [&given, &option](std::int64_t) { given[option.key] = "true"; }, option.help);
      continue;
    }
    CLI::Option* flag = command.add_option_function<std::string>(
        option.flag(), [&given, &option](const std::string& value) { given[option.key] = value; },
        option.help);
    flag->type_name(option.kind)->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    const Json value = option.write(defaults);
    const std::string shown = value.is_string() ? value.get<std::string>() : value.dump();
    if (option.key == "augment")
      flag->default_str("flip,crop");
    else if (!value.is_null() && !shown.empty())
      flag->default_str(shown);
  }
}

void read_train_options(TrainOptions& target, const std::string& json, const std::string& source) {
  const Json object = Json::parse(json, nullptr, false);
  if (!object.is_object()) throw UsageError(source + "a JSON object of options expected.");
  for (const auto& [key, value] : object.items()) {
    const auto known = [&key = key](const Option& o) { return o.in_files() && o.key == key; };
    const auto found = std::find_if(options().begin(), options().end(), known);
    if (found == options().end()) {
      std::vector<std::string> names;
      for (const Option& option : options())
        if (option.in_files()) names.push_back(option.key);
      throw UsageError(
          str(source, "unknown option '", key, "'. Did you mean '", nearest_name(key, names), "'?"));
    }
    set(target, *found, value, str(source, "'", key, "'"), value.dump());
  }
}

std::string to_json(const TrainOptions& source) {
  Json object;
  for (const Option& option : options())
    if (option.lasts != Lasts::process) object[option.key] = option.write(source);
  return object.dump(2) + "\n";
}

TrainOptions resolve_train_options(const GivenFlags& given) {
  TrainOptions result;
  const bool resuming = given.contains("resume");
  if (resuming) {
    const auto path = RunFolder::open(given.at("resume")).file(kConfigFile);
    read_train_options(result, read_text(path), path.string() + ": ");
  } else if (given.contains("config")) {
    read_train_options(result, read_text(given.at("config")), given.at("config") + ": ");
  }
  for (const Option& option : options()) {
    const auto found = given.find(option.key);
    if (found == given.end()) continue;
    const Json before = option.write(result);
    set(result, option, option.from_text(found->second), option.flag(), found->second);
    const bool changed = option.write(result) != before;
    if (resuming && (option.key == "out" || option.key == "config"))
      throw UsageError(str(option.flag(),
                           ": cannot go with --resume, which continues in the run's folder "
                           "with the run's configuration."));
    if (resuming && changed && option.lasts == Lasts::run)
      throw UsageError(str(option.flag(), ": --resume continues with the run's own value, ", before.dump(),
                           ". To change it start a new run."));
  }
  validate(result);
  return result;
}

void validate(const TrainOptions& o) {
  const auto require = [](bool condition, const char* flag, const char* expected, auto got) {
    if (!condition) throw UsageError(str(flag, ": ", expected, " expected, got ", got, "."));
  };
  constexpr double kMany = 1e6;
  require(o.epochs >= 1 && o.epochs <= 1'000'000, "--epochs", "1 to 1,000,000", o.epochs);
  require(o.batch_size >= 1 && o.batch_size <= 1 << 20, "--batch-size", "1 to 1,048,576", o.batch_size);
  require(o.lr >= 0 && o.lr < INFINITY, "--lr", "a number of at least 0", o.lr);
  require(o.min_lr >= 0 && o.min_lr < INFINITY, "--min-lr", "a number of at least 0", o.min_lr);
  require(o.min_lr <= o.lr || o.schedule == "constant", "--min-lr", "at most the --lr", o.min_lr);
  require(o.weight_decay >= 0 && o.weight_decay < INFINITY, "--weight-decay", "a number of at least 0",
          o.weight_decay);
  require(o.momentum >= 0 && o.momentum < 1, "--momentum", "a number in [0, 1)", o.momentum);
  require(!o.nesterov || o.momentum > 0, "--nesterov", "a --momentum above 0", o.momentum);
  require(o.warmup_epochs >= 0 && o.warmup_epochs <= kMany, "--warmup-epochs", "0 to 1,000,000",
          o.warmup_epochs);
  require(o.warmup_epochs <= static_cast<double>(o.epochs), "--warmup-epochs", "at most the --epochs",
          o.warmup_epochs);
  require(o.step_epochs > 0 && o.step_epochs <= kMany, "--step-epochs", "a number above 0", o.step_epochs);
  require(o.step_gamma > 0 && o.step_gamma <= 1, "--step-gamma", "a number in (0, 1]", o.step_gamma);
  require(o.label_smoothing >= 0 && o.label_smoothing <= 1, "--label-smoothing", "a number in [0, 1]",
          o.label_smoothing);
  require(!o.drop_path || (*o.drop_path >= 0 && *o.drop_path < 1), "--drop-path", "a number in [0, 1)",
          o.drop_path.value_or(0));
  require(o.clip_grad >= 0 && o.clip_grad < INFINITY, "--clip-grad", "a number of at least 0", o.clip_grad);
  require(o.crop_padding >= 0 && o.crop_padding <= 1024, "--crop-padding", "0 to 1024", o.crop_padding);
  require(o.erase_prob >= 0 && o.erase_prob <= 1, "--erase-prob", "a number in [0, 1]", o.erase_prob);
  require(o.image_size >= 0 && o.image_size <= 4096, "--image-size", "0 to 4096", o.image_size);
  require(o.val_split >= 0 && (o.val_split < 1 || o.val_split == std::floor(o.val_split)), "--val-split",
          "a share in [0, 1) or a whole number", o.val_split);
  require(o.limit >= 0, "--limit", "0 or more", o.limit);
  require(o.workers >= 0 && o.workers <= 256, "--workers", "0 to 256", o.workers);
  require(o.threads >= 0 && o.threads <= 1024, "--threads", "0 to 1024", o.threads);
  require(o.seed >= 0, "--seed", "0 or more", o.seed);
  require(o.save_every >= 1, "--save-every", "1 or more", o.save_every);
  require(o.stop_after >= 0, "--stop-after", "0 or more", o.stop_after);
  require_name("--optimizer", o.optimizer, {"adamw", "sgd"});
  require_name("--schedule", o.schedule, {"cosine", "constant", "step"});
  validate(ComputeFlags{o.device, o.precision});
  depthwise_kernel_named(o.depthwise_kernel);
  for (const std::string& name : o.augment)
    require_name("--augment", name, {"flip", "crop", "erase", "resized-crop"});
}

}  // namespace replk
