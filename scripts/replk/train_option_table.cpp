#include "scripts/replk/train_option_table.h"

#include <sstream>

#include "scripts/replk/text.h"

namespace replk {
namespace {

using Json = TrainOption::Json;
using Option = TrainOption;
using Lasts = TrainOption::Lasts;

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

Option optional_number(std::string key, std::optional<double> TrainOptions::*member, std::string help) {
  return {key,
          help,
          "X",
          Lasts::run,
          number_from,
          [member](TrainOptions& o, const Json& value) {
            if (!value.is_number() && !value.is_null()) return false;
            o.*member = value.is_null() ? std::nullopt : std::optional(value.get<double>());
            return true;
          },
          [member](const TrainOptions& o) { return o.*member ? Json(*(o.*member)) : Json(nullptr); }};
}

// Null stands for none.
Option numbers(std::string key, std::vector<double> TrainOptions::*member, std::string help) {
  return {
      key,
      help,
      "X,X",
      Lasts::run,
      [](const std::string& given) { return Json::parse("[" + given + "]", nullptr, false); },
      [member](TrainOptions& o, const Json& value) {
        const auto is_number = [](const Json& item) { return item.is_number(); };
        if (!value.is_null() && (!value.is_array() || !std::all_of(value.begin(), value.end(), is_number)))
          return false;
        o.*member = value.is_null() ? std::vector<double>() : value.get<std::vector<double>>();
        return true;
      },
      [member](const TrainOptions& o) { return (o.*member).empty() ? Json(nullptr) : Json(o.*member); }};
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

using O = TrainOptions;
using enum TrainOption::Lasts;

std::vector<Option> model_and_optimizer() {
  return {
      text("data", &O::data, "NAME|FOLDER", run, "data set, or a folder with one"),
      text("data_root", &O::data_root, "FOLDER", run, "where named data sets are ($REPLK_DATA)"),
      text("model", &O::model, "NAME", run, "preset of the network"),
      model_config_option(),
      text("finetune", &O::finetune, "FILE|RUN", run,
           "start from these weights; a head for other classes starts anew"),
      whole_number("epochs", &O::epochs, resumable,
                   "passes over the training images; the schedule is stretched over them"),
      whole_number("batch_size", &O::batch_size, run, "images in a step"),
      whole_number("accumulate", &O::accumulate, run,
                   "compute a step in so many parts, one after the other: less memory"),
      on_off("checkpointing", &O::checkpointing, run,
             "compute blocks again in backward: less memory, a third more time, the same results"),
      text("optimizer", &O::optimizer, "NAME", run, "adamw or sgd"),
      number("lr", &O::lr, run, "highest learning rate"),
      whole_number(
          "lr_base_size", &O::lr_base_size, run,
          "--lr and --min-lr are for steps of so many images: scale them to --batch-size; 0: do not"),
      numbers("betas", &O::betas, "of adamw"),
      number("opt_eps", &O::opt_eps, run, "epsilon of adamw"),
      number("weight_decay", &O::weight_decay, run, "of weights, not of biases and batch norms"),
      optional_number("weight_decay_end", &O::weight_decay_end,
                      "where a cosine leads the weight decay (it stays)"),
      number("layer_decay", &O::layer_decay, run,
             "learning rate of a group of blocks over that of the next one (fine-tuning: 0.7)"),
      number("momentum", &O::momentum, run, "of sgd"),
      on_off("nesterov", &O::nesterov, run, "Nesterov momentum for sgd"),
      text("schedule", &O::schedule, "NAME", run, "cosine, constant or step"),
      number("warmup_epochs", &O::warmup_epochs, run, "epochs in which the learning rate rises"),
      number("min_lr", &O::min_lr, run, "lowest learning rate of cosine and step"),
      number("step_epochs", &O::step_epochs, run, "schedule step: epochs between two cuts"),
      number("step_gamma", &O::step_gamma, run, "schedule step: what the rate is multiplied by"),
      number("label_smoothing", &O::label_smoothing, run, "share of the target spread over all classes"),
      optional_number("drop_path", &O::drop_path,
                      "largest drop path probability, at the last block (the model's own)"),
      number("clip_grad", &O::clip_grad, run, "largest norm of the gradient; 0: any"),
      number("ema", &O::ema, run,
             "decay of an average of the weights, evaluated beside them (long runs: 0.9999); 0: none"),
  };
}

std::vector<Option> images() {
  return {
      augment_option(),
      whole_number("crop_padding", &O::crop_padding, run, "augment crop: pixels around the image"),
      numbers("crop_scale", &O::crop_scale, "augment resized-crop: least and most of the area"),
      numbers("crop_ratio", &O::crop_ratio, "augment resized-crop: least and most of width / height"),
      text("aa", &O::aa, "NAME", run, "RandAugment, as timm writes it: rand-m9-mstd0.5-inc1"),
      number("color_jitter", &O::color_jitter, run,
             "change brightness, contrast and colour by up to this share; 0: none"),
      number("erase_prob", &O::erase_prob, run, "augment erase: share of the images"),
      whole_number("erase_count", &O::erase_count, run, "augment erase: rectangles in an image"),
      number("mixup", &O::mixup, run, "alpha of mixup (published: 0.8); 0: none"),
      number("cutmix", &O::cutmix, run, "alpha of cutmix (published: 1); 0: none"),
      numbers("cutmix_minmax", &O::cutmix_minmax, "least and most of a side for cutmix, in place of alpha"),
      number("mixup_prob", &O::mixup_prob, run, "share of the batches that are mixed"),
      number("mixup_switch_prob", &O::mixup_switch_prob, run, "share of cutmix where mixup is on too"),
      whole_number("image_size", &O::image_size, run, "resize to so many pixels a side; 0: as they are"),
      text("interpolation", &O::interpolation, "NAME", run, "of resizing: bilinear or bicubic"),
      optional_number("eval_crop", &O::eval_crop,
                      "share of the shorter side that evaluation sees; 0: the whole image, squeezed (0.875 "
                      "for 224 pixels, 0 for 384 and more, else 1)"),
      numbers("mean", &O::mean, "of each channel, for pixels in [0, 1] (of the training images)"),
      numbers("std", &O::std, "of each channel (of the training images)"),
      number("val_split", &O::val_split, run,
             "training images kept for validation: a share below 1, or a number"),
      whole_number("limit", &O::limit, run, "use at most so many images; 0: all"),
  };
}

std::vector<Option> process_and_machine() {
  return {
      whole_number("workers", &O::workers, resumable, "threads that prepare batches"),
      whole_number("threads", &O::threads, resumable, "threads that compute; 0: one a processor"),
      whole_number("seed", &O::seed, run, "of everything random"),
      text("device", &O::device, "NAME", resumable, "auto (a GPU where there is one), cpu or cuda"),
      text("precision", &O::precision, "NAME", resumable,
           "fp32; on a GPU also tf32 (faster products) or bf16 (activations in bf16, weights in f32)"),
      text("depthwise_kernel", &O::depthwise_kernel, "NAME", run,
           "kernel of depth-wise convolutions where it applies: automatic (the fastest), fft, direct, "
           "rows (CPU), tensor_core (GPU) or naive"),
      text("cuda_graph", &O::cuda_graph, "on|off", resumable,
           "on a GPU: record a step's kernels and launch them as one, the same in less time: on or off"),
      whole_number("save_every", &O::save_every, resumable, "epochs between two checkpoints"),
      text(
          "tensorboard", &O::tensorboard, "on|off", resumable,
          "write loss, accuracy, learning rate and speed as event files for tensorboard --logdir: on or off"),
      whole_number("keep", &O::keep, resumable,
                   "keep checkpoints of so many best epochs: epoch_0012.safetensors; 0: none"),
      whole_number("patience", &O::patience, resumable,
                   "stop after so many epochs without a better validation accuracy; 0: never"),
      text("out", &O::out, "FOLDER", process, "run folder (runs/<data>-<model>-<n>)"),
      text("resume", &O::resume, "RUN", process, "continue the run in this folder"),
      text("config", &O::config, "FILE", process, "JSON file of options; flags come first"),
      whole_number("stop_after", &O::stop_after, process, "end after so many epochs, to be resumed"),
      whole_number("save_batches", &O::save_batches, process,
                   "save pictures of the first so many batches, as the network sees them"),
      on_off("overfit_batch", &O::overfit_batch, process,
             "train on one batch until its loss is nearly 0: a quick test of everything"),
      on_off("find_lr", &O::find_lr, process,
             "try learning rates from 1e-7 to 10 in 161 steps and suggest one; plots the losses, saves no "
             "weights"),
      on_off("dry_run", &O::dry_run, process, "build everything, run one step, write nothing"),
      on_off("profile", &O::profile, process, "say where the time went"),
  };
}

std::vector<Option> make_options() {
  std::vector<Option> all;
  for (auto part : {model_and_optimizer(), images(), process_and_machine()})
    all.insert(all.end(), part.begin(), part.end());
  return all;
}

}  // namespace

std::string flag_text(const Json& value) {
  if (value.is_null()) return "";
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) return value.dump();
  if (value.empty()) return "none";
  std::vector<std::string> items;
  for (const Json& item : value) items.push_back(flag_text(item));
  return join(items, ",");
}

const std::vector<TrainOption>& train_option_table() {
  static const std::vector<Option> kOptions = make_options();
  return kOptions;
}

}  // namespace replk
