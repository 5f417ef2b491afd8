#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/error.h"
#include "data/loader.h"
#include "data/subset.h"
#include "ops/normalize_images/normalize_images.h"
#include "scripts/replk/command_line.h"
#include "scripts/replk/commands.h"
#include "scripts/replk/common_flags.h"
#include "scripts/replk/compute.h"
#include "scripts/replk/evaluate.h"
#include "scripts/replk/table.h"
#include "scripts/replk/text.h"

namespace replk {
namespace {

struct ReparamFlags {
  std::string checkpoint, out;
  bool fold_batch_norm = false;
  double limit = 1e-4;
  std::int64_t images = 256;
  DataFlags data;
  ComputeFlags compute;
};

// Images to compare two networks on, normalised, in batches (C, N, H, W).
struct Samples {
  std::string name;
  std::vector<Tensor> batches;
};

// As many images as take about as much time as 64 of 28x28.
std::int64_t batch_size_for(const ModelCard& card) {
  return std::clamp<std::int64_t>(64 * 28 * 28 / (card.height * card.width), 1, 64);
}

Samples random_images(const ModelCard& card, std::int64_t count) {
  Samples samples{.name = "random images", .batches = {}};
  Random random(0, stream_of("reparam"));
  const std::int64_t batch = batch_size_for(card);
  for (std::int64_t done = 0; done < count; done += batch) {
    Tensor images =
        Tensor::empty({std::min(batch, count - done), card.height, card.width, card.channels}, DType::u8);
    for (std::int64_t i = 0; i < images.numel(); ++i)
      images.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(random.next());
    samples.batches.push_back(normalize_images(images, card.mean, card.std));
  }
  return samples;
}

Samples dataset_images(std::shared_ptr<const Dataset> dataset, const ModelCard& card, std::int64_t count) {
  Samples samples{.name = dataset->name(), .batches = {}};
  const auto part = random_samples(dataset, std::min(count, dataset->size()), /*seed=*/0);
  Loader loader(part, evaluation_pipeline(card), {.batch_size = batch_size_for(card)});
  loader.start(0);
  while (const auto batch = loader.next())
    samples.batches.push_back(normalize_images(batch->images, card.mean, card.std));
  return samples;
}

// Of the data set; random ones where the network's own is not on this machine.
Samples find_samples(const ReparamFlags& flags, const ModelCard& card) {
  if (!flags.data.name.empty()) return dataset_images(flags.data.open(), card, flags.images);
  if (card.dataset.empty()) return random_images(card, flags.images);
  std::shared_ptr<const Dataset> dataset;
  try {
    dataset = flags.data.open(card.dataset);
  } catch (const Error& error) {
    fmt::print(stderr, "replk: note: random images are used: {}\n", error.what());
    return random_images(card, flags.images);
  }
  return dataset_images(dataset, card, flags.images);
}

struct Comparison {
  double difference = 0;  // the largest of a logit, relative to the largest logit
  std::int64_t agreeing = 0, images = 0;
};

Comparison compare(RepLKNet& before, RepLKNet& after, const Samples& samples) {
  Comparison result;
  double largest = 0, difference = 0;
  for (const Tensor& batch : samples.batches) {
    const Tensor there = batch.to(before.device());
    const Tensor a = before(there).data().to(Device::cpu()), b = after(there).data().to(Device::cpu());
    const std::int64_t classes = a.size(1);
    for (std::int64_t n = 0; n < a.size(0); ++n) {
      const float *x = a.data<float>() + n * classes, *y = b.data<float>() + n * classes;
      for (std::int64_t k = 0; k < classes; ++k) {
        const double gap = std::abs(static_cast<double>(x[k]) - static_cast<double>(y[k]));
        if (std::isnan(gap) || gap > difference) difference = gap;  // no gap is larger than NaN: it stays
        largest = std::max(largest, std::abs(static_cast<double>(x[k])));
      }
      result.agreeing += std::max_element(x, x + classes) - x == std::max_element(y, y + classes) - y;
      ++result.images;
    }
  }
  result.difference = difference == 0 ? 0 : difference / largest;
  return result;
}

struct Speed {
  double before = 0, after = 0;  // images a second
};

// Runs both in turn on one batch, so that whatever else the machine does slows both; the fastest run counts.
Speed measure_speed(RepLKNet& before, RepLKNet& after, const Tensor& batch) {
  constexpr double kSeconds = 1.5;
  constexpr int kFewest = 3;
  using Clock = std::chrono::steady_clock;
  const auto seconds_of = [&](RepLKNet& model) {
    const auto start = Clock::now();
    model(batch);
    synchronize(batch.device());
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  double best_before = 1e9, best_after = 1e9, total = 0;
  for (int run = 0; run < kFewest || total < kSeconds; ++run) {
    const double a = seconds_of(before), b = seconds_of(after);
    best_before = std::min(best_before, a);
    best_after = std::min(best_after, b);
    total += a + b;
  }
  const double images = static_cast<double>(batch.size(1));
  return {images / best_before, images / best_after};
}

// What is still to be done to this network; refuses when nothing is.
void check_flags(const ReparamFlags& flags, const TrainedModel& trained) {
  const bool done =
      flags.fold_batch_norm ? trained.config.batch_norm_folded : trained.config.small_kernel_merged;
  if (done)
    throw UsageError(str(trained.path.string(), ": this network is merged already",
                         flags.fold_batch_norm || trained.config.batch_norm_folded
                             ? "."
                             : "; --fold-bn folds its batch norms too."));
  std::error_code error;
  if (std::filesystem::equivalent(flags.out, trained.path, error))
    throw UsageError(str("--out: another file than the checkpoint expected, got ", flags.out,
                         ": what was merged cannot be trained on."));
}

void print_table(const TrainedModel& trained, RepLKNet& merged, const ReparamFlags& flags, Speed speed) {
  using enum Table::Align;
  Table table({{""}, {"before", right}, {"after", right}, {"ratio", right}});
  const auto ratio = [](double before, double after) { return fmt::format("{:.2f}", after / before); };
  const std::int64_t weights = trained.model->parameter_count(), weights_left = merged.parameter_count();
  table.add({"parameters", format_count(weights), format_count(weights_left),
             ratio(static_cast<double>(weights), static_cast<double>(weights_left))});
  const auto bytes = std::filesystem::file_size(trained.path),
             bytes_left = std::filesystem::file_size(flags.out);
  table.add({"file", format_bytes(bytes), format_bytes(bytes_left),
             ratio(static_cast<double>(bytes), static_cast<double>(bytes_left))});
  table.add({"images/s", format_count(std::llround(speed.before)), format_count(std::llround(speed.after)),
             ratio(speed.before, speed.after)});
  fmt::print("{}", table.text());
}

void run_reparam(const ReparamFlags& flags) {
  const Compute compute = resolve_compute(flags.compute);
  const TrainedModel trained = load_trained(flags.checkpoint, compute.device, /*needs_card=*/false);
  check_flags(flags, trained);
  const auto merged = load_model(trained.path);
  merged->structural_reparam();
  if (flags.fold_batch_norm) merged->fold_batch_norm();
  merged->to(compute.device);

  const Samples samples = find_samples(flags, trained.card);
  const Comparison comparison = compare(*trained.model, *merged, samples);
  fmt::print("{} ({})\n", trained.card.model, trained.path.string());
  fmt::print("merged: small kernels and their batch norms into the large kernels{}\n\n",
             flags.fold_batch_norm ? "; every other batch norm into a convolution" : "");
  fmt::print("compared on {} images of {}\n", format_count(comparison.images), samples.name);
  fmt::print("largest difference: {:.2g} of the largest logit (limit {:g})\n", comparison.difference,
             flags.limit);
  fmt::print(
      "same prediction: {} of {} ({})\n\n", format_count(comparison.agreeing),
      format_count(comparison.images),
      format_percent(static_cast<double>(comparison.agreeing) / static_cast<double>(comparison.images)));
  std::fflush(stdout);
  if (!(comparison.difference <= flags.limit))
    throw Error(
        fmt::format("{}: merging changes the outputs by {:.2g} of the largest logit, at most {:g} allowed "
                    "(--limit); {} was not written.",
                    trained.path.string(), comparison.difference, flags.limit, flags.out));

  const Speed speed = measure_speed(*trained.model, *merged, samples.batches.front().to(compute.device));
  save_checkpoint(flags.out, *merged, trained.metadata);
  print_table(trained, *merged, flags, speed);
  fmt::print("(batches of {}, on {})\n\nsaved: {}\n", samples.batches.front().size(1), compute.describe(),
             flags.out);
}

}  // namespace

CLI::App* add_reparam_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "reparam", "Merges a trained network into a smaller, faster one that gives the same answers");
  const auto flags = std::make_shared<ReparamFlags>();
  command->add_option("checkpoint", flags->checkpoint, "A checkpoint, or the folder of a run")->required();
  command->add_option("-o,--out", flags->out, "The file to write")->required();
  command->add_flag("--fold-bn", flags->fold_batch_norm, "Fold every batch norm into a convolution too");
  command
      ->add_option("--limit", flags->limit,
                   "Refuse when outputs differ by more, relative to the largest logit")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--images", flags->images, "Compare on so many images")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  add_data_flags(*command, flags->data);
  add_device_flag(*command, flags->compute);
  add_threads_flag(*command);
  command->callback([flags] { run_reparam(*flags); });
  return command;
}

}  // namespace replk
