#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/error.h"
#include "ops/log_softmax/log_softmax.h"
#include "ops/normalize_images/normalize_images.h"
#include "ops/primitives/elementwise.h"
#include "scripts/replk/command_line.h"
#include "scripts/replk/commands.h"
#include "scripts/replk/common_flags.h"
#include "scripts/replk/compute.h"
#include "scripts/replk/evaluate.h"
#include "scripts/replk/image_inputs.h"
#include "scripts/replk/kernel_report.h"
#include "scripts/replk/table.h"
#include "scripts/replk/text.h"

namespace replk {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kBatch = 64;  // images at a time

struct PredictFlags {
  std::string checkpoint;
  std::vector<std::string> paths;
  DataFlags data;
  ComputeFlags compute;
  std::vector<std::int64_t> indices;
  std::int64_t top = 5;
  bool json = false;
};

struct Answer {
  std::size_t label;
  double probability;
};

struct Prediction {
  const ImageInput* input;
  std::vector<Answer> top;  // most probable first; empty when there was an error
  std::string error;
};

std::vector<ImageInput> collect_inputs(const PredictFlags& flags, const TrainedModel& trained,
                                       std::vector<std::string>& errors) {
  const bool samples = !flags.data.name.empty() || !flags.indices.empty();
  if (flags.paths.empty() && !samples)
    throw UsageError("predict: paths of images expected, or --index with numbers of samples.");
  if (samples && flags.indices.empty())
    throw UsageError("predict: --data needs --index with the numbers of samples, such as --index 0,1,2");
  std::vector<ImageInput> inputs;
  for (const std::string& path : flags.paths) {
    try {
      for (ImageInput& input : inputs_at(path)) inputs.push_back(std::move(input));
    } catch (const FileError& error) {
      errors.push_back(error.what());
    }
  }
  if (samples) {
    const auto dataset = flags.data.open(trained.card.dataset);
    check_classes(*dataset, trained.card);
    for (ImageInput& input : inputs_from(dataset, flags.indices)) inputs.push_back(std::move(input));
  }
  return inputs;
}

std::vector<Answer> best_answers(const float* log_probabilities, std::size_t classes, std::int64_t top) {
  std::vector<std::size_t> order(classes);
  std::iota(order.begin(), order.end(), std::size_t{0});
  // NaN, which a broken network gives, compares as the smallest.
  const auto key = [&](std::size_t k) {
    return std::isnan(log_probabilities[k]) ? -std::numeric_limits<float>::infinity() : log_probabilities[k];
  };
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return key(a) > key(b); });
  order.resize(std::min(classes, static_cast<std::size_t>(top)));
  std::vector<Answer> answers;
  for (const std::size_t label : order)
    answers.push_back({label, std::exp(static_cast<double>(log_probabilities[label]))});
  return answers;
}

// Predicts inputs [begin, end); one that cannot be loaded gets its error instead of answers.
void predict_batch(const TrainedModel& trained, const Compute& compute, std::span<const ImageInput> inputs,
                   std::int64_t top, std::vector<Prediction>& predictions) {
  const ModelCard& card = trained.card;
  const Pipeline pipeline = evaluation_pipeline(card);
  Random unused(0);
  std::vector<std::uint8_t> pixels;
  std::vector<std::size_t> loaded;
  for (const ImageInput& input : inputs) {
    Prediction prediction{.input = &input, .top = {}, .error = {}};
    try {
      const Image image = pipeline(input.load(), unused);
      pixels.insert(pixels.end(), image.pixels.begin(), image.pixels.end());
      loaded.push_back(predictions.size());
    } catch (const Error& error) {
      prediction.error = error.what();
    }
    predictions.push_back(std::move(prediction));
  }
  if (loaded.empty()) return;
  const Tensor images =
      Tensor::of(pixels, {static_cast<std::int64_t>(loaded.size()), card.height, card.width, card.channels});
  const Variable x = normalize_images(images.to(compute.device), card.mean, card.std, compute.activations);
  const Tensor logits = cast((*trained.model)(x).data(), DType::f32);
  const Tensor scores = log_softmax(logits).data().to(Device::cpu());
  const std::size_t classes = card.classes.size();
  for (std::size_t n = 0; n < loaded.size(); ++n)
    predictions[loaded[n]].top = best_answers(scores.data<float>() + n * classes, classes, top);
}

void print_text(const ModelCard& card, const std::vector<Prediction>& predictions) {
  Table table({{"image"}, {"class"}, {"probability", Table::Align::right}});
  std::int64_t labelled = 0, right = 0;
  for (const Prediction& prediction : predictions) {
    if (prediction.top.empty()) continue;
    std::string name = printable(prediction.input->name);
    if (const auto label = prediction.input->label) {
      ++labelled;
      right += static_cast<std::size_t>(*label) == prediction.top.front().label;
      name += " (" + printable(card.classes.at(static_cast<std::size_t>(*label))) + ")";
    }
    for (const Answer& answer : prediction.top) {
      table.add({name, printable(card.classes[answer.label]), format_percent(answer.probability)});
      name.clear();
    }
  }
  fmt::print("{}", table.text());
  if (labelled > 0) fmt::print("\n{} of {} right\n", right, labelled);
}

void print_json(const TrainedModel& trained, const Compute& compute, const std::vector<std::string>& kernels,
                const std::vector<Prediction>& predictions, const std::vector<std::string>& errors) {
  const ModelCard& card = trained.card;
  Json list = Json::array(), failed = errors;
  for (const Prediction& prediction : predictions) {
    if (!prediction.error.empty()) {
      failed.push_back(prediction.error);
      continue;
    }
    Json entry = {{"image", prediction.input->name}};
    if (prediction.input->label)
      entry["label"] = card.classes.at(static_cast<std::size_t>(*prediction.input->label));
    Json top = Json::array();
    for (const Answer& answer : prediction.top)
      top.push_back({{"class", card.classes[answer.label]},
                     {"index", answer.label},
                     {"probability", answer.probability}});
    entry["top"] = top;
    list.push_back(entry);
  }
  const Json result = {{"checkpoint", trained.path.string()},
                       {"device", compute.describe()},
                       {"kernels", kernels},
                       {"predictions", list},
                       {"errors", failed}};
  fmt::print("{}\n", result.dump(2, ' ', false, Json::error_handler_t::replace));
}

void run_predict(const PredictFlags& flags) {
  const Compute compute = resolve_compute(flags.compute);
  const TrainedModel trained = load_trained(flags.checkpoint, compute.device);
  std::vector<std::string> errors;
  const std::vector<ImageInput> inputs = collect_inputs(flags, trained, errors);
  const auto batch = static_cast<std::int64_t>(std::min(kBatch, inputs.size()));
  std::vector<std::string> kernels;
  if (batch > 0)
    kernels = kernel_lines(depthwise_layers(trained.model->config(), compute.device, batch,
                                            trained.card.height, trained.card.width, compute.activations),
                           Passes::forward);
  if (!flags.json && batch > 0) fmt::print("on {}\n{}\n\n", compute.describe(), join(kernels, "\n"));
  std::fflush(stdout);
  std::vector<Prediction> predictions;
  predictions.reserve(inputs.size());
  for (std::size_t i = 0; i < inputs.size(); i += kBatch)
    predict_batch(trained, compute, std::span(inputs).subspan(i, std::min(kBatch, inputs.size() - i)),
                  flags.top, predictions);

  const bool any =
      std::any_of(predictions.begin(), predictions.end(), [](const auto& p) { return !p.top.empty(); });
  if (flags.json)
    print_json(trained, compute, kernels, predictions, errors);
  else if (any)
    print_text(trained.card, predictions);
  std::fflush(stdout);
  for (const Prediction& prediction : predictions)
    if (!prediction.error.empty()) errors.push_back(prediction.error);
  for (const std::string& error : errors) fmt::print(stderr, "replk: {}\n", printable(error));
  if (!errors.empty()) throw CLI::RuntimeError(kExitBadData);
}

}  // namespace

CLI::App* add_predict_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("predict", "What a trained network sees in images");
  const auto flags = std::make_shared<PredictFlags>();
  command->add_option("checkpoint", flags->checkpoint, "A checkpoint, or the folder of a run")->required();
  command->add_option(
      "images", flags->paths,
      "PNG or JPEG files, folders of them, or pictures of IDX files (images-idx3-ubyte.gz:7)");
  command->add_option("--index", flags->indices, "Samples of the data set, by number: 0,1,2")
      ->delimiter(',')
      ->allow_extra_args(false);
  add_data_flags(*command, flags->data);
  command->add_option("--top", flags->top, "Show so many classes")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  command->add_flag("--json", flags->json, "Print JSON");
  add_compute_flags(*command, flags->compute);
  add_depthwise_kernel_flag(*command);
  add_threads_flag(*command);
  command->callback([flags] { run_predict(*flags); });
  return command;
}

}  // namespace replk
