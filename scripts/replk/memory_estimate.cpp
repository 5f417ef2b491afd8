#include "scripts/replk/memory_estimate.h"

#include <algorithm>
#include <optional>

#include "core/dry_run.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/normalize_images/normalize_images.h"
#include "ops/primitives/elementwise.h"
#include "scripts/replk/batch_feed.h"
#include "scripts/replk/evaluate.h"
#include "scripts/replk/trainer.h"

namespace replk {
namespace {

// What products of matrices on a GPU ask for beside their operands (ops/primitives/gemm.cu), which is by far
// the most of what its kernels do; a dry run does not see into those.
constexpr std::int64_t kCudaWorkspace = std::int64_t{32} << 20;

// Batches that lie on the CPU beside the one that is computed, and on a GPU: one that the device still works
// on, and one that is on its way.
constexpr std::int64_t kWaitingOnCpu = 4, kWaitingOnCuda = 2;
static_assert(LoaderParams().prefetch == kWaitingOnCpu);

ModelCard card_for(const MemoryQuestion& question) {
  const std::int64_t channels = question.config.in_channels;
  ModelCard card;
  card.height = question.height;
  card.width = question.width;
  card.channels = channels;
  card.mean.assign(static_cast<std::size_t>(channels), 0.5f);
  card.std.assign(static_cast<std::size_t>(channels), 0.25f);
  return card;
}

Batch make_batch(const MemoryQuestion& question, std::int64_t images, bool soft) {
  Batch batch;
  batch.images =
      Tensor::pinned({images, question.height, question.width, question.config.in_channels}, DType::u8);
  batch.labels = Tensor::pinned({images}, DType::i64);
  if (soft) batch.targets = Tensor::pinned({images, question.config.num_classes});
  batch.indices.resize(static_cast<std::size_t>(images));
  return batch;
}

// The batches that wait, where the device has them.
std::vector<DeviceBatch> waiting_batches(const MemoryQuestion& question, std::int64_t images, bool soft,
                                         bool prepared_ahead) {
  const bool cpu = question.device.is_cpu();
  std::vector<DeviceBatch> batches;
  for (std::int64_t i = 0; i < (cpu ? prepared_ahead * kWaitingOnCpu : kWaitingOnCuda); ++i)
    batches.push_back(on_device(make_batch(question, images, soft), question.device));
  return batches;
}

// What evaluate() does with each batch.
void evaluate_batch(RepLKNet& model, const MemoryQuestion& question, std::int64_t images) {
  const ModelCard card = card_for(question);
  const DeviceBatch batch = on_device(make_batch(question, images, false), question.device);
  const Tensor normalized = normalize_images(batch.images, card.mean, card.std, question.activations);
  const Tensor logits = cast(model(normalized).data(), DType::f32);
  cross_entropy(logits, batch.labels);
}

std::string stage_of(const std::string& path) {
  if (path == "norm") return "head";  // whose pooling ends it
  const std::size_t parts = path.starts_with("stages.") || path.starts_with("transitions.") ? 2 : 1;
  std::size_t end = path.find('.');
  if (parts == 2 && end != path.npos) end = path.find('.', end + 1);
  return path.substr(0, end);
}

// Follows the first forward pass: what each stage leaves in use, how large each layer's output is.
class ForwardLog {
 public:
  ForwardLog(DryRun& dry, Device device) : dry_(dry), device_(device), last_(in_use()), begin_(last_) {}

  void see(const Module& module, const Tensor& out) {
    if (done_) return;
    if (!module.describe().empty()) layers.push_back({module.path(), static_cast<std::int64_t>(out.bytes())});
    done_ = module.path().empty();
    const std::string stage = done_ ? stages.back().name : stage_of(module.path());
    if (stages.empty() || stages.back().name != stage) stages.push_back({stage});
    const std::int64_t now = in_use();
    stages.back().bytes += now - last_;
    last_ = now;
  }
  std::int64_t activations() const { return last_ - begin_; }

  std::vector<MemoryRow> stages, layers;

 private:
  std::int64_t in_use() const { return dry_.stats(device_).in_use; }

  DryRun& dry_;
  Device device_;
  std::int64_t last_, begin_;
  bool done_ = false;
};

std::int64_t bytes_of(const std::map<std::string, Tensor>& tensors) {
  std::int64_t sum = 0;
  for (const auto& [name, tensor] : tensors)
    if (tensor.numel() > 1) sum += static_cast<std::int64_t>(tensor.bytes());
  return sum;
}

// A network, and numbers about the dry run it is in.
struct Scene {
  DryRun dry;
  MemoryQuestion question;
  RepLKNet model;

  explicit Scene(const MemoryQuestion& q) : question(q), model(q.config) { model.to(q.device); }
  std::int64_t in_use() { return dry.stats(question.device).in_use; }
  // The most that was in use since the last call.
  std::int64_t take_peak() {
    const std::int64_t peak =
        dry.stats(question.device).peak + (question.device.is_cpu() ? 0 : kCudaWorkspace);
    dry.reset_peak(question.device);
    return peak;
  }
};

std::int64_t parameter_bytes(RepLKNet& model) {
  std::int64_t sum = 0;
  for (const Parameter* parameter : model.parameters())
    sum += static_cast<std::int64_t>(parameter->data.bytes());
  return sum;
}

// Two steps, because the first one leaves things that later ones find: the moments of the optimizer exist
// from the start, but kernels keep what they prepared.
void run_steps(Scene& scene, Trainer& trainer, const TrainOptions& options, bool soft,
               TrainingMemory& memory) {
  const std::int64_t before = scene.in_use();
  const auto waiting = waiting_batches(scene.question, options.batch_size, soft, options.workers > 0);
  DeviceBatch batch = on_device(make_batch(scene.question, options.batch_size, soft), scene.question.device);
  memory.batches = scene.in_use() - before;
  ForwardLog log(scene.dry, scene.question.device);
  scene.dry.reset_peak(scene.question.device);
  {
    const ModuleObserver observer(
        [&](Module& module, const Variable&, const Variable& out) { log.see(module, out.data()); });
    trainer.start(batch);
    trainer.finish();
  }
  trainer.start(std::move(batch));
  trainer.finish();
  memory.step = scene.take_peak();
  memory.activations = log.activations();
  memory.stages = std::move(log.stages);
  memory.layers = std::move(log.layers);
  std::stable_sort(memory.layers.begin(), memory.layers.end(),
                   [](const MemoryRow& a, const MemoryRow& b) { return a.bytes > b.bytes; });
}

}  // namespace

std::int64_t TrainingMemory::peak() const { return std::max({step, setup, validation, saving}); }

TrainingMemory estimate_training(const MemoryQuestion& question, const TrainOptions& options) {
  Scene scene(question);
  RepLKNet& model = scene.model;
  const bool soft = options.mixup > 0 || options.cutmix > 0 || !options.cutmix_minmax.empty();
  Trainer trainer(model, options, card_for(question), /*batches=*/1, question.activations);
  TrainingMemory memory;
  memory.setup = scene.take_peak();
  memory.parameters = memory.gradients = parameter_bytes(model);
  {
    const auto state = trainer.optimizer().state();
    const auto averages = trainer.ema() ? trainer.ema()->state() : std::map<std::string, Tensor>();
    memory.saving = scene.take_peak();
    memory.optimizer = bytes_of(state);
    memory.averages = bytes_of(averages);
  }
  const std::int64_t kept = scene.in_use();
  run_steps(scene, trainer, options, soft, memory);
  {
    const std::int64_t images = validation_batch_size(options);
    const auto waiting = waiting_batches(question, images, false, options.workers > 0);
    model.eval();
    evaluate_batch(model, question, images);
    memory.validation = scene.take_peak();
  }
  memory.statistics = kept - memory.parameters - memory.gradients - memory.optimizer - memory.averages;
  memory.workspace = memory.step - kept - memory.batches - memory.activations;
  return memory;
}

InferenceMemory estimate_inference(const MemoryQuestion& question, std::int64_t batch_size) {
  Scene scene(question);
  scene.model.eval();
  InferenceMemory memory;
  memory.parameters = scene.in_use();
  const auto waiting = waiting_batches(question, batch_size, false, /*prepared_ahead=*/true);
  memory.batches = scene.in_use() - memory.parameters;
  scene.dry.reset_peak(question.device);
  // Twice, because weights are packed for their kernels once.
  evaluate_batch(scene.model, question, batch_size);
  evaluate_batch(scene.model, question, batch_size);
  memory.peak = scene.take_peak();
  memory.workspace = memory.peak - memory.parameters - memory.batches;
  return memory;
}

}  // namespace replk
