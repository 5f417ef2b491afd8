#include "scripts/replk/evaluate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>
#include <utility>

#include "core/download.h"
#include "core/error.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/normalize_images/normalize_images.h"
#include "ops/primitives/elementwise.h"
#include "scripts/replk/batch_feed.h"

namespace replk {
namespace {

std::span<const float> row_of(const Tensor& logits, std::int64_t n) {
  const std::int64_t classes = logits.size(1);
  return {logits.data<float>() + n * classes, static_cast<std::size_t>(classes)};
}

// What the network says to a batch, on its way to the CPU.
struct Answers {
  DeviceBatch batch;
  Download logits, loss;
};

// Puts a network into eval mode, and back.
class EvalMode {
 public:
  explicit EvalMode(Module& module) : module_(module), training_(module.training()) { module.eval(); }
  ~EvalMode() { module_.train(training_); }
  EvalMode(const EvalMode&) = delete;
  EvalMode& operator=(const EvalMode&) = delete;

 private:
  Module& module_;
  bool training_;
};

}  // namespace

std::int64_t rank_of(std::span<const float> logits, std::int64_t label) {
  const float own = logits[static_cast<std::size_t>(label)];
  std::int64_t rank = 0;
  for (std::size_t k = 0; k < logits.size(); ++k) {
    if (std::cmp_equal(k, label)) continue;
    // Written so that a comparison with NaN counts.
    rank += std::cmp_less(k, label) ? !(logits[k] < own) : !(logits[k] <= own);
  }
  return rank;
}

std::int64_t count_correct(const Tensor& logits, const Tensor& labels, std::int64_t k) {
  std::int64_t correct = 0;
  for (std::int64_t n = 0; n < logits.size(0); ++n)
    correct += rank_of(row_of(logits, n), labels.data<std::int64_t>()[n]) < k;
  return correct;
}

double ClassResult::accuracy() const {
  return images > 0 ? static_cast<double>(right) / static_cast<double>(images) : std::nan("");
}

double ClassResult::mistaken_share() const {
  return images > 0 ? static_cast<double>(mistakes) / static_cast<double>(images) : std::nan("");
}

std::vector<ClassResult> results_by_class(const Evaluation& evaluation, std::size_t classes) {
  std::vector<ClassResult> results(classes);
  for (std::size_t label = 0; label < classes; ++label) {
    ClassResult& result = results[label];
    for (std::size_t predicted = 0; predicted < classes; ++predicted) {
      const std::int64_t count = evaluation.confusion[label * classes + predicted];
      result.images += count;
      if (predicted == label)
        result.right = count;
      else if (count > result.mistakes) {
        result.mistaken_for = predicted;
        result.mistakes = count;
      }
    }
  }
  return results;
}

Pipeline evaluation_pipeline(const ModelCard& card) {
  Pipeline pipeline{ConvertChannels{.channels = card.channels}};
  const Filter filter = card.bicubic ? Filter::bicubic : Filter::bilinear;
  if (card.keep_aspect) {
    const auto side = static_cast<double>(std::max(card.height, card.width));
    pipeline.add(ResizeShorterSide{.size = static_cast<std::int64_t>(side / card.crop), .filter = filter});
    pipeline.add(CenterCrop{.size = {card.height, card.width}});
  } else {
    pipeline.add(Resize{.size = {card.height, card.width}, .filter = filter});
  }
  return pipeline;
}

Evaluation evaluate(RepLKNet& model, std::shared_ptr<const Dataset> dataset, const ModelCard& card,
                    const EvaluateOptions& options) {
  const std::int64_t classes = model.config().num_classes, of = dataset->size();
  check(std::cmp_equal(dataset->classes().size(), classes), dataset->name(), ": has ",
        dataset->classes().size(), " classes, the network has ", classes, ".");
  const EvalMode mode(model);
  const Device device = model.device();
  Loader loader(dataset, evaluation_pipeline(card),
                {.batch_size = options.batch_size, .workers = options.workers, .pinned = !device.is_cpu()});
  Evaluation result;
  result.confusion.assign(static_cast<std::size_t>(classes * classes), 0);
  std::int64_t correct = 0, in_top5 = 0;
  const auto count = [&](Answers& answers) {
    const Batch& batch = answers.batch.host;
    const Tensor logits = answers.logits.get();
    result.loss += answers.loss.get().item() * static_cast<double>(batch.size());
    correct += count_correct(logits, batch.labels);
    in_top5 += count_correct(logits, batch.labels, 5);
    for (std::int64_t n = 0; n < batch.size(); ++n) {
      const auto row = row_of(logits, n);
      const auto predicted = std::max_element(row.begin(), row.end()) - row.begin();
      ++result
            .confusion[static_cast<std::size_t>(batch.labels.data<std::int64_t>()[n] * classes + predicted)];
    }
    result.images += batch.size();
    if (options.answered) options.answered(batch, logits);
    if (options.progress) options.progress(result.images, of);
  };
  std::deque<Answers> in_flight;
  const auto start = std::chrono::steady_clock::now();
  loader.start(0);
  BatchFeed feed(loader, device);
  while (!result.stopped) {
    if (options.stop && options.stop()) {
      result.stopped = true;
      break;
    }
    auto batch = feed.next();
    if (batch) {
      const Tensor images = normalize_images(batch->images, card.mean, card.std, options.activations);
      const Tensor logits = cast(model(images).data(), DType::f32);
      const Tensor loss = cross_entropy(logits, batch->labels).data();
      in_flight.push_back({std::move(*batch), Download(logits), Download(loss)});
    }
    while (in_flight.size() > (batch ? most_in_flight(device) : 0)) {
      count(in_flight.front());
      in_flight.pop_front();
    }
    if (!batch) break;
  }
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double images = static_cast<double>(std::max<std::int64_t>(result.images, 1));
  result.loss /= images;
  result.accuracy = static_cast<double>(correct) / images;
  result.top5 = static_cast<double>(in_top5) / images;
  result.images_per_second = static_cast<double>(result.images) / std::max(result.seconds, 1e-9);
  return result;
}

}  // namespace replk
