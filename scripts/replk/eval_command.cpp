#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "io/atomic_file.h"
#include "scripts/replk/commands.h"
#include "scripts/replk/common_flags.h"
#include "scripts/replk/compute.h"
#include "scripts/replk/evaluate.h"
#include "scripts/replk/kernel_report.h"
#include "scripts/replk/memory_advice.h"
#include "scripts/replk/progress.h"
#include "scripts/replk/svg_chart.h"
#include "scripts/replk/table.h"
#include "scripts/replk/text.h"

namespace replk {
namespace {

using Json = nlohmann::ordered_json;

struct EvalFlags {
  std::string checkpoint, confusion;
  ComputeFlags compute;
  DataFlags data;
  std::int64_t batch_size = 256;
  int workers = 1;
  bool json = false;
};

void print_text(const TrainedModel& trained, const Evaluation& evaluation) {
  Table numbers({{"images"}, {format_count(evaluation.images)}});
  numbers.add({"accuracy", format_percent(evaluation.accuracy)});
  numbers.add({"top 5", format_percent(evaluation.top5)});
  numbers.add({"loss", fmt::format("{:.4f}", evaluation.loss)});
  numbers.add(
      {"speed", fmt::format("{} images/s ({})", format_count(std::llround(evaluation.images_per_second)),
                            format_duration(evaluation.seconds))});
  fmt::print("{}\n", numbers.text());

  const auto& names = trained.card.classes;
  using enum Table::Align;
  Table table({{"class"}, {"images", right}, {"accuracy", right}, {"most often taken for"}});
  const auto results = results_by_class(evaluation, names.size());
  for (std::size_t i = 0; i < names.size(); ++i) {
    const ClassResult& result = results[i];
    table.add({printable(names[i]), format_count(result.images), format_percent(result.accuracy(), 1),
               result.mistakes == 0 ? "-"
                                    : fmt::format("{} ({})", printable(names[result.mistaken_for]),
                                                  format_percent(result.mistaken_share(), 1))});
  }
  fmt::print("{}", table.text());
}

void print_json(const TrainedModel& trained, const Compute& compute, const std::string& data,
                const std::vector<std::string>& kernels, const Evaluation& evaluation) {
  Json classes = Json::array();
  const auto results = results_by_class(evaluation, trained.card.classes.size());
  for (std::size_t i = 0; i < results.size(); ++i)
    classes.push_back({{"class", trained.card.classes[i]},
                       {"images", results[i].images},
                       {"accuracy", results[i].accuracy()}});
  const Json result = {{"checkpoint", trained.path.string()},
                       {"model", trained.card.model},
                       {"data", data},
                       {"device", compute.describe()},
                       {"kernels", kernels},
                       {"images", evaluation.images},
                       {"accuracy", evaluation.accuracy},
                       {"top5", evaluation.top5},
                       {"loss", evaluation.loss},
                       {"seconds", evaluation.seconds},
                       {"images_per_second", evaluation.images_per_second},
                       {"classes", classes}};
  fmt::print("{}\n", result.dump(2, ' ', false, Json::error_handler_t::replace));
}

Evaluation measure(const TrainedModel& trained, const std::shared_ptr<const Dataset>& dataset,
                   const Compute& compute, const EvalFlags& flags) {
  Progress progress;
  try {
    return evaluate(*trained.model, dataset, trained.card,
                    {.batch_size = flags.batch_size,
                     .activations = compute.activations,
                     .workers = flags.workers,
                     .progress = count_images(progress)});
  } catch (const OutOfMemory& error) {
    progress.clear();
    const MemoryQuestion question{trained.model->config(), trained.card.height, trained.card.width,
                                  compute.device, compute.activations};
    throw OutOfMemory(error.what() + inference_memory_advice(question, flags.batch_size, error.capacity()),
                      error.capacity());
  }
}

void run_eval(const EvalFlags& flags) {
  const Compute compute = resolve_compute(flags.compute);
  const TrainedModel trained = load_trained(flags.checkpoint, compute.device);
  const auto dataset = flags.data.open(trained.card.dataset);
  check_classes(*dataset, trained.card);
  const std::string& data = dataset->name();
  const std::vector<std::string> kernels =
      kernel_lines(depthwise_layers(trained.model->config(), compute.device, flags.batch_size,
                                    trained.card.height, trained.card.width, compute.activations),
                   Passes::forward);
  if (!flags.json)
    fmt::print("{} ({}) on {}; on {}\n{}\n\n", trained.card.model, trained.path.string(), data,
               compute.describe(), join(kernels, "\n"));
  std::fflush(stdout);
  const Evaluation evaluation = measure(trained, dataset, compute, flags);
  if (flags.json)
    print_json(trained, compute, data, kernels, evaluation);
  else
    print_text(trained, evaluation);
  if (flags.confusion.empty()) return;
  write_file_atomically(flags.confusion,
                        std::string_view(confusion_matrix(trained.card.model + " on " + data,
                                                          trained.card.classes, evaluation.confusion)));
  if (!flags.json) fmt::print("\nconfusion matrix: {}\n", flags.confusion);
}

}  // namespace

CLI::App* add_eval_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("eval", "Accuracy and loss of a trained network on a data set");
  const auto flags = std::make_shared<EvalFlags>();
  command->add_option("checkpoint", flags->checkpoint, "A checkpoint, or the folder of a run")->required();
  add_data_flags(*command, flags->data);
  command->add_option("--batch-size", flags->batch_size, "Images at a time")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command->add_option("--workers", flags->workers, "Threads that prepare images")
      ->check(CLI::Range(0, 256))
      ->capture_default_str();
  command->add_flag("--json", flags->json, "Print JSON");
  command->add_option("--confusion", flags->confusion, "Write the confusion matrix to this SVG file");
  add_compute_flags(*command, flags->compute);
  add_depthwise_kernel_flag(*command);
  add_threads_flag(*command);
  command->callback([flags] { run_eval(*flags); });
  return command;
}

}  // namespace replk
