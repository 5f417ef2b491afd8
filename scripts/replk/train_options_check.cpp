// What values the options of `replk train` may have.
#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/nearest_name.h"
#include "data/rand_augment.h"
#include "scripts/replk/compute.h"
#include "scripts/replk/kernel_report.h"
#include "scripts/replk/train_option_table.h"
#include "scripts/replk/train_options.h"

namespace replk {
namespace {

void require_one_of(const char* flag, const std::string& name, const std::vector<std::string>& known) {
  require_name(flag, name, known);
}

// config.json holds them all, as text in UTF-8.
void require_utf8(const TrainOptions& o) {
  for (const TrainOption& option : train_option_table()) try {
      option.write(o).dump();
    } catch (const TrainOption::Json::exception&) {
      throw UsageError(str(option.flag(), ": text in UTF-8 expected, got other bytes."));
    }
}

template <class T>
void require(bool condition, const char* flag, const char* expected, const T& got) {
  if (!condition) throw UsageError(str(flag, ": ", expected, " expected, got ", got, "."));
}

std::string text_of(const std::vector<double>& numbers) {
  std::string text;
  for (const double number : numbers) text += str(text.empty() ? "" : ",", number);
  return text.empty() ? "none" : text;
}

bool is_range(const std::vector<double>& numbers, double low, double high) {
  return numbers.size() == 2 && numbers[0] >= low && numbers[0] <= numbers[1] && numbers[1] <= high;
}

void validate_images(const TrainOptions& o) {
  const auto fraction = [](const char* flag, double value) {
    require(value >= 0 && value <= 1, flag, "a number in [0, 1]", value);
  };
  for (const std::string& name : o.augment)
    require_one_of("--augment", name, {"flip", "crop", "erase", "resized-crop"});
  require(o.crop_padding >= 0 && o.crop_padding <= 1024, "--crop-padding", "0 to 1024", o.crop_padding);
  require(is_range(o.crop_scale, 1e-6, 1), "--crop-scale", "two rising shares above 0, as in 0.08,1,",
          text_of(o.crop_scale));
  require(is_range(o.crop_ratio, 1e-3, 1e3), "--crop-ratio", "two rising numbers above 0, as in 0.75,1.333,",
          text_of(o.crop_ratio));
  if (!o.aa.empty()) {
    try {
      RandAugment::parse(o.aa);
    } catch (const UsageError& error) {
      throw UsageError(str("--aa: ", error.what()));
    }
  }
  require(o.color_jitter >= 0 && o.color_jitter <= 10, "--color-jitter", "0 to 10", o.color_jitter);
  require(o.color_jitter == 0 || o.aa.empty(), "--color-jitter",
          "0 beside --aa (timm, too, leaves it out then; published runs that give both have none)",
          o.color_jitter);
  fraction("--erase-prob", o.erase_prob);
  require(o.erase_count >= 1 && o.erase_count <= 100, "--erase-count", "1 to 100", o.erase_count);
  require(o.mixup >= 0 && o.mixup < INFINITY, "--mixup", "a number of at least 0", o.mixup);
  require(o.cutmix >= 0 && o.cutmix < INFINITY, "--cutmix", "a number of at least 0", o.cutmix);
  require(
      o.cutmix_minmax.empty() || (is_range(o.cutmix_minmax, 0, 1) && o.cutmix_minmax[0] < o.cutmix_minmax[1]),
      "--cutmix-minmax", "two rising shares, as in 0.2,0.8,", text_of(o.cutmix_minmax));
  fraction("--mixup-prob", o.mixup_prob);
  fraction("--mixup-switch-prob", o.mixup_switch_prob);
  require(o.image_size >= 0 && o.image_size <= 4096, "--image-size", "0 to 4096", o.image_size);
  require_one_of("--interpolation", o.interpolation, {"bilinear", "bicubic"});
  require(!o.eval_crop || *o.eval_crop == 0 || (*o.eval_crop >= 0.1 && *o.eval_crop <= 1), "--eval-crop",
          "0, or a share from 0.1 to 1", o.eval_crop.value_or(0));
  require(!o.eval_crop || o.image_size > 0, "--eval-crop", "an --image-size beside it", "none");
  for (const double mean : o.mean) fraction("--mean", mean);
  for (const double deviation : o.std)
    require(deviation > 0 && deviation <= 1, "--std", "numbers in (0, 1]", deviation);
  require(o.mean.size() == o.std.size(), "--mean", "as many numbers as --std", o.mean.size());
  require(o.val_split >= 0 && (o.val_split < 1 || o.val_split == std::floor(o.val_split)), "--val-split",
          "a share in [0, 1) or a whole number", o.val_split);
  require(o.limit >= 0, "--limit", "0 or more", o.limit);
}

}  // namespace

double learning_rate_scale(const TrainOptions& o) {
  return o.lr_base_size == 0 ? 1 : static_cast<double>(o.batch_size) / static_cast<double>(o.lr_base_size);
}

void validate(const TrainOptions& o) {
  constexpr double kMany = 1e6;
  require(o.epochs >= 1 && o.epochs <= 1'000'000, "--epochs", "1 to 1,000,000", o.epochs);
  require(o.batch_size >= 1 && o.batch_size <= 1 << 20, "--batch-size", "1 to 1,048,576", o.batch_size);
  require(o.lr >= 0 && o.lr < INFINITY, "--lr", "a number of at least 0", o.lr);
  require(o.min_lr >= 0 && o.min_lr < INFINITY, "--min-lr", "a number of at least 0", o.min_lr);
  require(o.lr_base_size >= 0 && o.lr_base_size <= 1 << 20, "--lr-base-size", "0 to 1,048,576",
          o.lr_base_size);
  require(o.min_lr <= o.lr || o.schedule == "constant", "--min-lr", "at most the --lr", o.min_lr);
  require(o.accumulate >= 1 && o.accumulate <= o.batch_size, "--accumulate", "1 to the --batch-size",
          o.accumulate);
  require(o.betas.size() == 2 && o.betas[0] >= 0 && o.betas[0] < 1 && o.betas[1] >= 0 && o.betas[1] < 1,
          "--betas", "two numbers in [0, 1), as in 0.9,0.999,", text_of(o.betas));
  require(o.opt_eps > 0 && o.opt_eps < INFINITY, "--opt-eps", "a number above 0", o.opt_eps);
  require(o.weight_decay >= 0 && o.weight_decay < INFINITY, "--weight-decay", "a number of at least 0",
          o.weight_decay);
  require(!o.weight_decay_end || (*o.weight_decay_end >= 0 && *o.weight_decay_end < INFINITY),
          "--weight-decay-end", "a number of at least 0", o.weight_decay_end.value_or(0));
  require(!o.weight_decay_end || o.weight_decay > 0, "--weight-decay-end", "a --weight-decay above 0",
          o.weight_decay);
  require(o.layer_decay > 0 && o.layer_decay <= 10, "--layer-decay", "a number above 0 (1: none)",
          o.layer_decay);
  require(o.ema >= 0 && o.ema < 1, "--ema", "a number in [0, 1)", o.ema);
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
  require(o.workers >= 0 && o.workers <= 256, "--workers", "0 to 256", o.workers);
  require(o.threads >= 0 && o.threads <= 1024, "--threads", "0 to 1024", o.threads);
  require(o.seed >= 0, "--seed", "0 or more", o.seed);
  require(o.save_every >= 1, "--save-every", "1 or more", o.save_every);
  require(o.keep >= 0, "--keep", "0 or more", o.keep);
  require(o.patience >= 0, "--patience", "0 or more", o.patience);
  require(!o.find_lr || o.resume.empty(), "--find-lr", "a new run, without --resume,", o.resume);
  require(!o.find_lr || !(o.dry_run || o.overfit_batch), "--find-lr",
          "neither --dry-run nor --overfit-batch beside it", "one");
  require(o.stop_after >= 0, "--stop-after", "0 or more", o.stop_after);
  require(o.save_batches >= 0 && o.save_batches <= 1000, "--save-batches", "0 to 1000", o.save_batches);
  require_utf8(o);
  require_one_of("--optimizer", o.optimizer, {"adamw", "sgd"});
  require_one_of("--tensorboard", o.tensorboard, {"on", "off"});
  require_one_of("--cuda-graph", o.cuda_graph, {"on", "off"});
  require_one_of("--schedule", o.schedule, {"cosine", "constant", "step"});
  validate(ComputeFlags{o.device, o.precision});
  depthwise_kernel_named(o.depthwise_kernel);
  validate_images(o);
}

}  // namespace replk
