// TrainOptions: everything `replk train` can be told, from its defaults, a JSON file and flags.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace replk {

/// The names are those of the flags (with _ for -) and of the keys in JSON files.
struct TrainOptions {
  std::string data = "fashion-mnist";
  std::string data_root;  // empty: REPLK_DATA or /usr/share/datasets
  std::string model = "replknet-tiny";
  std::string model_config;  // a JSON object of RepLKNetConfig options; empty: none
  std::int64_t epochs = 10;
  std::int64_t batch_size = 128;  // images in a step
  std::int64_t accumulate = 1;    // a step computes its batch in so many parts, one after the other
  std::string optimizer = "adamw";
  double lr = 4e-3;
  std::int64_t lr_base_size = 0;             // lr and min_lr are for so many images; 0: for batch_size
  std::vector<double> betas = {0.9, 0.999};  // of AdamW
  double opt_eps = 1e-8;                     // of AdamW
  double weight_decay = 0.05;
  std::optional<double> weight_decay_end;  // a cosine leads there; none: it stays
  double layer_decay = 1;                  // learning rate of a group of blocks over that of the next one
  double momentum = 0.9;                   // of SGD
  bool nesterov = false;                   // of SGD
  std::string schedule = "cosine";
  double warmup_epochs = 0.5;
  double min_lr = 0;
  double step_epochs = 30;  // of the step schedule: lr times step_gamma every so many epochs
  double step_gamma = 0.1;
  double label_smoothing = 0.1;
  std::optional<double> drop_path;  // none: the model's own
  double clip_grad = 5;             // largest gradient norm; 0: not clipped
  double ema = 0;                   // decay of an average of the weights; 0: none
  bool checkpointing = false;
  std::string finetune;  // a checkpoint to take the weights from; empty: random ones
  std::vector<std::string> augment = {"flip", "crop"};
  std::int64_t crop_padding = 2;
  std::vector<double> crop_scale = {0.08, 1};           // of resized-crop: share of the area
  std::vector<double> crop_ratio = {3.0 / 4, 4.0 / 3};  // of resized-crop: width over height
  std::string aa;                                       // RandAugment as timm writes it; empty: none
  double color_jitter = 0;                              // strength; 0: none
  double erase_prob = 0.25;
  std::int64_t erase_count = 1;
  double mixup = 0, cutmix = 0;       // alphas; 0: none
  std::vector<double> cutmix_minmax;  // sides of the part; empty: by the alpha
  double mixup_prob = 1, mixup_switch_prob = 0.5;
  std::int64_t image_size = 0;  // 0: as the data are
  std::string interpolation = "bilinear";
  std::optional<double> eval_crop;  // none: by the image size
  std::vector<double> mean, std;    // of pixels in [0, 1], by channel; empty: of the training images
  double val_split = 0.05;          // below 1: a share of the training images; otherwise how many
  std::int64_t limit = 0;           // train on (and validate on) at most so many images; 0: all
  std::int64_t workers = 1;
  std::int64_t threads = 0;  // 0: as many as there are processors
  std::int64_t seed = 0;
  std::string device = "auto";     // or cpu, cuda
  std::string precision = "fp32";  // or tf32, bf16
  std::string depthwise_kernel = "automatic";
  std::string cuda_graph = "on";   // or off
  std::int64_t save_every = 1;     // epochs
  std::int64_t keep = 0;           // checkpoints of the best epochs
  std::string tensorboard = "on";  // or off
  std::int64_t patience = 0;       // epochs without a better validation accuracy; 0: any number

  // How this process is to go about it; not part of a run's configuration.
  std::string program = "replk";  // what the user called it
  std::string out;                // empty: runs/<data>-<model>-<n>
  std::string resume;             // a run folder
  std::string config;             // a JSON file
  std::int64_t stop_after = 0, save_batches = 0;
  bool overfit_batch = false, find_lr = false, dry_run = false, profile = false;
};

/// The flags that were written on the command line, by key, with their text.
using GivenFlags = std::map<std::string, std::string>;

/// Adds every flag to `command`; parsing fills `given`, which must outlive it.
void add_train_flags(CLI::App& command, GivenFlags& given);

/// Defaults, then the file of --config (or, with --resume, the configuration of that run), then the flags.
/// The result is valid. Throws UsageError naming the flag or key, with the nearest one for an unknown key;
/// FileError for a file that cannot be read; UsageError for a flag that --resume cannot change.
TrainOptions resolve_train_options(const GivenFlags& given);

/// Sets the options in a JSON object. `source` stands before errors: "fast.json: ".
void read_train_options(TrainOptions& options, const std::string& json, const std::string& source);
/// The options that a run folder was made with; they may be out of range. Throws FileError where there is no
/// run, UsageError for a configuration that is not one.
TrainOptions read_run_options(const std::filesystem::path& run);
/// The configuration of a run as an indented JSON object, which --config takes.
std::string to_json(const TrainOptions& options);
/// What lr and min_lr are multiplied by: the size of the batches over lr_base_size, or 1 without that.
double learning_rate_scale(const TrainOptions& options);
/// Images of a step that are computed at once.
std::int64_t part_size(const TrainOptions& options);
/// Images that are validated at once: no more than are trained on at once, so that validation takes less
/// memory.
std::int64_t validation_batch_size(const TrainOptions& options);
/// Throws UsageError naming the first option that is out of its range, or unknown by name.
void validate(const TrainOptions& options);

}  // namespace replk
