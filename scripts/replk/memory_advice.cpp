#include "scripts/replk/memory_advice.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "scripts/replk/text.h"

namespace replk {
namespace {

constexpr std::size_t kMostSettings = 3;
constexpr std::int64_t kLeastPart = 4;  // images: the statistics of fewer are too noisy for batch norms

// The estimate is exact but for what threads do at the same time; on a GPU freed blocks leave gaps besides.
bool fits(std::int64_t bytes, std::int64_t capacity, Device device) {
  const double margin = device.is_cpu() ? 0.03 : 0.08;
  return static_cast<double>(bytes) <= (1 - margin) * static_cast<double>(capacity);
}

struct Candidate {
  MemoryQuestion question;
  TrainOptions options;
  std::string flags, note;
};

void append(std::string& list, const char* separator, const std::string& item) {
  list += (list.empty() ? "" : separator) + item;
}

std::optional<MemorySetting> fitting(const Candidate& candidate, std::int64_t capacity) {
  const std::int64_t bytes = estimate_training(candidate.question, candidate.options).peak();
  if (!fits(bytes, capacity, candidate.question.device)) return std::nullopt;
  return MemorySetting{candidate.flags, candidate.note, candidate.options, bytes};
}

// The same in the least number of parts with which it fits.
std::optional<MemorySetting> fitting_in_parts(const Candidate& whole, std::int64_t capacity) {
  for (std::int64_t parts = 2 * whole.options.accumulate;; parts *= 2) {
    Candidate candidate = whole;
    candidate.options.accumulate = parts;
    if (part_size(candidate.options) < kLeastPart) return std::nullopt;
    append(candidate.flags, " ", fmt::format("--accumulate {}", parts));
    append(candidate.note, ", ", fmt::format("the same batch in {} parts", parts));
    if (auto setting = fitting(candidate, capacity)) return setting;
  }
}

void set_checkpointing(Candidate& candidate) {
  candidate.options.checkpointing = candidate.question.config.use_checkpoint = true;
  append(candidate.flags, " ", "--checkpointing");
  append(candidate.note, ", ", "the same results, a third more time");
}

std::int64_t total_stride(const RepLKNetConfig& config) {
  return config.stem_strides[0] * config.stem_strides[1] << (config.channels.size() - 1);
}

// Shrinks images by eighths, to sides that divide well; false when `eighths` gives no such side.
bool set_image_size(Candidate& candidate, std::int64_t eighths) {
  const std::int64_t side = std::max(candidate.question.height, candidate.question.width);
  const std::int64_t step = side >= 128 ? 32 : 4, size = side * eighths / 8 / step * step;
  if (size < std::max(step, total_stride(candidate.question.config))) return false;
  candidate.options.image_size = candidate.question.height = candidate.question.width = size;
  candidate.flags = fmt::format("--image-size {}", size);
  candidate.note = "smaller images";
  return true;
}

class Search {
 public:
  Search(const MemoryQuestion& question, const TrainOptions& options, std::int64_t capacity)
      : start_{question, options, "", ""}, capacity_(capacity) {}

  std::vector<MemorySetting> run() {
    try_one(start_, true);
    Candidate checkpointed = start_;
    if (!start_.question.config.use_checkpoint) {
      set_checkpointing(checkpointed);
      if (!try_one(checkpointed, false)) try_one(checkpointed, true);
    }
    if (!start_.question.device.is_cpu() && start_.question.activations != DType::bf16) try_bf16();
    try_images();
    try_batches(start_);
    if (found_.empty() && checkpointed.options.checkpointing) try_batches(checkpointed);
    return std::move(found_);
  }

 private:
  bool try_one(const Candidate& candidate, bool in_parts) {
    if (found_.size() == kMostSettings) return true;
    auto setting = in_parts ? fitting_in_parts(candidate, capacity_) : fitting(candidate, capacity_);
    if (setting) found_.push_back(std::move(*setting));
    return setting.has_value();
  }

  void try_bf16() {
    Candidate half = start_;
    half.question.activations = DType::bf16;
    half.options.precision = "bf16";
    half.flags = "--precision bf16";
    half.note = "activations in half the bytes";
    if (!try_one(half, false)) try_one(half, true);
  }

  void try_images() {
    for (std::int64_t eighths = 7; eighths >= 4; --eighths) {  // less than half shows too little
      Candidate smaller = start_;
      if (set_image_size(smaller, eighths) && try_one(smaller, false)) return;
    }
  }

  void try_batches(Candidate smaller) {
    append(smaller.note, ", ", "another batch, for another --lr");
    const std::string flags = smaller.flags;
    smaller.options.accumulate = 1;
    for (std::int64_t size = part_size(start_.options) / 2; size >= kLeastPart; size /= 2) {
      smaller.options.batch_size = size;
      smaller.flags = flags;
      append(smaller.flags, " ", fmt::format("--batch-size {}", size));
      if (try_one(smaller, false)) return;
    }
  }

  Candidate start_;
  std::int64_t capacity_;
  std::vector<MemorySetting> found_;
};

std::string largest_layers(const TrainingMemory& memory) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < std::min<std::size_t>(memory.layers.size(), 3); ++i)
    names.push_back(fmt::format("{} ({})", memory.layers[i].name, format_mib(memory.layers[i].bytes)));
  return join(names);
}

}  // namespace

std::vector<MemorySetting> settings_that_fit(const MemoryQuestion& question, const TrainOptions& options,
                                             std::int64_t capacity) {
  return Search(question, options, capacity).run();
}

std::string training_memory_advice(const MemoryQuestion& question, const TrainOptions& options,
                                   std::int64_t capacity) {
  const TrainingMemory memory = estimate_training(question, options);
  std::string text = fmt::format(" These settings need about {} of {}; the largest layers are {}.",
                                 format_mib(memory.peak()), format_mib(capacity), largest_layers(memory));
  std::vector<std::string> fitting;
  for (const MemorySetting& setting : settings_that_fit(question, options, capacity))
    fitting.push_back(fmt::format("{} ({}: {})", setting.flags, format_mib(setting.bytes), setting.note));
  if (fitting.empty()) return text + " No batch or image size of this network fits: take a smaller --model.";
  const char* what =
      options.resume.empty() ? " What fits: " : " This run keeps its settings; what fits in a new one: ";
  return text + what + join(fitting, "; or ") + ".";
}

std::string inference_memory_advice(const MemoryQuestion& question, std::int64_t batch_size,
                                    std::int64_t capacity) {
  const std::string needs =
      fmt::format(" Batches of {} need about {} of {}.", batch_size,
                  format_mib(estimate_inference(question, batch_size).peak), format_mib(capacity));
  for (std::int64_t size = batch_size / 2; size >= 1; size /= 2) {
    const std::int64_t bytes = estimate_inference(question, size).peak;
    if (fits(bytes, capacity, question.device))
      return needs + fmt::format(" What fits: --batch-size {} ({}).", size, format_mib(bytes));
  }
  return needs + " No batch of this network fits.";
}

}  // namespace replk
