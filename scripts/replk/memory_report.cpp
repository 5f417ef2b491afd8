#include "scripts/replk/memory_report.h"

#include <fmt/format.h>

#include "core/error.h"
#include "scripts/replk/table.h"
#include "scripts/replk/text.h"

namespace replk {
namespace {

constexpr std::size_t kLayersShown = 5;

Table make_table(const std::string& heading) {
  return Table({{heading}, {"memory", Table::Align::right}, {""}});
}

std::string training_table(const TrainingMemory& memory, const TrainOptions& options) {
  Table table = make_table("training step");
  const auto add = [&](const std::string& name, std::int64_t bytes, const std::string& note = "") {
    table.add({name, format_mib(bytes), note});
  };
  add("parameters", memory.parameters);
  add("gradients", memory.gradients);
  add("optimizer", memory.optimizer, options.optimizer);
  if (options.ema > 0) add("averages", memory.averages, "of the weights (--ema)");
  add("statistics", memory.statistics, "of batch norms, and padding");
  add("batches", memory.batches, "images and labels, with those that are prepared ahead");
  add("activations", memory.activations, "kept for backward:");
  for (const MemoryRow& stage : memory.stages) add("  " + stage.name, stage.bytes);
  add("workspace", memory.workspace, "at the peak besides: gradients of activations, scratch");
  table.add_rule();
  add("peak of a step", memory.step);
  return table.text();
}

std::string layers_table(const TrainingMemory& memory) {
  Table table = make_table("largest layers");
  for (std::size_t i = 0; i < std::min(memory.layers.size(), kLayersShown); ++i)
    table.add({memory.layers[i].name, format_mib(memory.layers[i].bytes), "output"});
  return table.text();
}

std::string run_table(const TrainingMemory& memory, const TrainOptions& options) {
  Table table = make_table("the rest of a run");
  table.add({"setting up", format_mib(memory.setup)});
  table.add({"validation", format_mib(memory.validation),
             fmt::format("{} images at a time", validation_batch_size(options))});
  table.add({"saving", format_mib(memory.saving)});
  table.add_rule();
  table.add({"peak of a run", format_mib(memory.peak())});
  return table.text();
}

std::string inference_table(const InferenceMemory& memory) {
  Table table = make_table("inference");
  table.add({"parameters", format_mib(memory.parameters), "with the statistics of batch norms"});
  table.add({"batches", format_mib(memory.batches)});
  table.add({"workspace", format_mib(memory.workspace), "activations, scratch"});
  table.add_rule();
  table.add({"peak", format_mib(memory.peak)});
  return table.text();
}

}  // namespace

std::string memory_report(const MemoryQuestion& question, const TrainOptions& options) {
  const RepLKNetConfig& config = question.config;
  std::string where = str(question.device.is_cpu() ? "the CPU" : "a GPU", ", ", options.precision);
  if (options.accumulate > 1) where += fmt::format(", in {} parts", options.accumulate);
  if (config.use_checkpoint) where += ", with checkpointing";
  std::string text =
      fmt::format("\nMemory for batches of {} images of {}x{}x{} on {}:\n\n", options.batch_size,
                  question.height, question.width, config.in_channels, where);
  if (!config.small_kernel_merged && !config.batch_norm_folded) {  // what is merged is not trained any more
    const TrainingMemory training = estimate_training(question, options);
    text += fmt::format("{}\n{}\n{}\n", training_table(training, options), layers_table(training),
                        run_table(training, options));
  }
  return text + inference_table(estimate_inference(question, options.batch_size));
}

}  // namespace replk
