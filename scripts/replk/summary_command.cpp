#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "scripts/replk/checkpoint.h"
#include "scripts/replk/commands.h"
#include "scripts/replk/common_flags.h"
#include "scripts/replk/compute.h"
#include "scripts/replk/kernel_report.h"
#include "scripts/replk/memory_report.h"
#include "scripts/replk/model_summary.h"
#include "scripts/replk/table.h"
#include "scripts/replk/text.h"

namespace replk {
namespace {

struct SummaryFlags {
  std::string model;
  std::int64_t image_size = 0, batch_size = 0;  // 0: the network's own; 1, or what train takes
  bool layers = false, kernels = false, memory = false;
  TrainOptions train;    // what of it matters for memory
  ComputeFlags compute;  // for kernels and memory
};

struct Subject {
  std::string name;
  RepLKNetConfig config;
  std::int64_t height, width;  // of the images it is made for
};

Subject find_subject(const std::string& name) {
  std::error_code error;
  const bool file = std::filesystem::exists(name, error) || name.find_first_of("./") != name.npos;
  if (!file) {
    const RepLKNetConfig config = preset(name);
    const std::int64_t size = usual_image_size(config);
    return {name, config, size, size};
  }
  const Checkpoint checkpoint = read_checkpoint(find_checkpoint(name));
  const RepLKNetConfig config = build_model(checkpoint)->config();  // whose weights fit
  const std::int64_t size = usual_image_size(config);
  if (!checkpoint.metadata.contains("card")) return {checkpoint.path.string(), config, size, size};
  const ModelCard card = checkpoint.card();
  return {checkpoint.path.string() + " (" + card.model + ")", config, card.height, card.width};
}

// (C, N, H, W) as "(C, H, W)", (N, classes) as "(classes)".
std::string one_image(const Shape& shape) {
  std::vector<std::string> extents;
  for (int i = 0; i < shape.rank(); ++i)
    if (i != (shape.rank() == 4 ? 1 : 0)) extents.push_back(std::to_string(shape[i]));
  return "(" + join(extents) + ")";
}

std::string share(std::int64_t part, std::int64_t whole) {
  return whole == 0 ? "-" : format_percent(static_cast<double>(part) / static_cast<double>(whole), 1);
}

void print_rows(const std::vector<LayerRow>& rows, const ModelSummary& summary) {
  Table table({{"layer"},
               {"kind"},
               {"output"},
               {"parameters", Table::Align::right},
               {"MACs", Table::Align::right},
               {"share", Table::Align::right}});
  for (const LayerRow& row : rows)
    table.add({row.path, row.kind, one_image(row.output), format_count(row.parameters),
               format_si(static_cast<double>(row.macs)), share(row.macs, summary.macs)});
  table.add_rule();
  table.add(
      {"total", "", "", format_count(summary.parameters), format_si(static_cast<double>(summary.macs)), ""});
  fmt::print("{}\n", table.text());
}

void add_totals(Table& table, const std::string& name, const ModelSummary& summary) {
  table.add({name, format_count(summary.parameters), format_si(static_cast<double>(summary.macs)),
             share(summary.depthwise_macs, summary.macs), share(summary.pointwise_macs, summary.macs),
             format_count(static_cast<std::int64_t>(summary.layers.size()))});
}

std::string kernels_of(const RepLKNetConfig& config, const SummaryFlags& flags, std::int64_t height,
                       std::int64_t width) {
  const std::int64_t batch_size = std::max<std::int64_t>(flags.batch_size, 1);
  const Compute compute = resolve_compute(flags.compute);
  const auto layers =
      depthwise_layers(config, compute.device, batch_size, height, width, compute.activations);
  return fmt::format("\nKernels on {} for batches of {}:\n\n{}", compute.describe(), batch_size,
                     kernel_table(layers));
}

// Of a device that need not be there: bf16 and tf32 are those of a GPU.
std::string memory_of(const RepLKNetConfig& config, const SummaryFlags& flags, std::int64_t height,
                      std::int64_t width) {
  validate(flags.compute);
  TrainOptions options = flags.train;
  if (flags.batch_size > 0) options.batch_size = flags.batch_size;
  options.precision = flags.compute.precision;
  validate(options);
  const bool cuda = flags.compute.device == "cuda" || flags.compute.precision != "fp32" ||
                    (flags.compute.device == "auto" && cuda_available());
  MemoryQuestion question{.config = config,
                          .height = height,
                          .width = width,
                          .device = cuda ? Device::cuda() : Device::cpu(),
                          .activations = flags.compute.precision == "bf16" ? DType::bf16 : DType::f32};
  question.config.use_checkpoint |= options.checkpointing;
  return memory_report(question, options);
}

void run_summary(const SummaryFlags& flags) {
  if (flags.batch_size > 0 && !flags.kernels && !flags.memory)
    throw UsageError("--batch-size: is for --kernels or --memory; say which.");
  const Subject subject = find_subject(flags.model);
  const RepLKNetConfig& config = subject.config;
  const std::int64_t height = flags.image_size > 0 ? flags.image_size : subject.height;
  const std::int64_t width = flags.image_size > 0 ? flags.image_size : subject.width;
  fmt::print("{}: input ({}, {}, {}), {} classes\n\n", subject.name, config.in_channels, height, width,
             config.num_classes);
  const ModelSummary whole = summarize(config, height, width);
  print_rows(flags.layers ? whole.layers : whole.blocks, whole);
  std::string memory, kernels;  // of the network as it is
  if (flags.memory) memory = memory_of(config, flags, height, width);
  if (flags.kernels) kernels = kernels_of(config, flags, height, width);

  using enum Table::Align;
  Table totals({{"network"},
                {"parameters", right},
                {"MACs", right},
                {"depth-wise", right},
                {"1x1", right},
                {"layers", right}});
  add_totals(totals, "as it is", whole);
  RepLKNetConfig merged = config;
  merged.small_kernel_merged = true;
  if (!config.small_kernel_merged)
    add_totals(totals, "large kernels merged", summarize(merged, height, width));
  merged.batch_norm_folded = true;
  if (!config.batch_norm_folded)
    add_totals(totals, "batch norms folded too", summarize(merged, height, width));
  fmt::print("{}", totals.text());
  fmt::print("\nMACs: multiply-adds for one image; depth-wise and 1x1: the share of those convolutions.\n");
  fmt::print("{}{}", kernels, memory);
}

void add_memory_flags(CLI::App& command, SummaryFlags& flags) {
  CLI::Option* memory = command.add_flag(
      "--memory", flags.memory, "Show what a training step and an inference take of memory, by stage");
  TrainOptions& train = flags.train;
  command.add_flag("--checkpointing", train.checkpointing, "For --memory: as replk train has it")
      ->needs(memory);
  command.add_option("--accumulate", train.accumulate, "For --memory: a step in so many parts")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str()
      ->needs(memory);
  command.add_option("--optimizer", train.optimizer, "For --memory: adamw or sgd")
      ->type_name("NAME")
      ->capture_default_str()
      ->needs(memory);
  command
      .add_flag_callback(
          "--ema", [&train] { train.ema = 0.9999; }, "For --memory: with an average of the weights")
      ->needs(memory);
}

}  // namespace

CLI::App* add_summary_command(CLI::App& app) {
  constexpr std::int64_t kLargestImage = 2048;
  CLI::App* command = app.add_subcommand(
      "summary", "Shapes, parameters and multiply-adds of a network, before and after merging");
  const auto flags = std::make_shared<SummaryFlags>();
  command
      ->add_option("model", flags->model,
                   "A preset (replknet-31b, replknet-tiny, ...), a checkpoint or a run")
      ->required();
  command
      ->add_option("--image-size", flags->image_size,
                   "Side of the image in pixels (default: the network's own)")
      ->check(CLI::Range(std::int64_t{1}, kLargestImage));
  command->add_flag("--layers", flags->layers, "Show every layer, not only blocks");
  CLI::Option* kernels =
      command->add_flag("--kernels", flags->kernels, "Show which kernel runs each depth-wise convolution");
  command
      ->add_option("--batch-size", flags->batch_size,
                   "Images at a time, for --kernels (default: 1) and --memory (default: 128)")
      ->check(CLI::Range(1, 65536));
  add_memory_flags(*command, *flags);
  add_compute_flags(*command, flags->compute);
  add_depthwise_kernel_flag(*command)->needs(kernels);
  add_threads_flag(*command);
  command->callback([flags] { run_summary(*flags); });
  return command;
}

}  // namespace replk
