#include "core/replay.h"

#include <algorithm>
#include <utility>

#include "core/allocator.h"
#include "core/cuda/graph.h"
#include "core/cuda/runtime.h"
#include "core/dry_run.h"
#include "core/profile.h"

namespace replk {
namespace {

using Hooks = std::vector<std::function<void()>>;

thread_local Hooks* recorded_hooks = nullptr;

bool alike(const Tensor& a, const Tensor& b) {
  return a.defined() == b.defined() &&
         (!a.defined() || (a.shape() == b.shape() && a.dtype() == b.dtype() && a.device() == b.device()));
}

bool alike(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  return std::ranges::equal(a, b, [](const Tensor& x, const Tensor& y) { return alike(x, y); });
}

std::vector<Tensor> copies(const std::vector<Tensor>& tensors) {
  std::vector<Tensor> result;
  for (const Tensor& tensor : tensors) result.push_back(tensor.defined() ? tensor.clone() : Tensor());
  return result;
}

}  // namespace

void before_each_run(std::function<void()> f) {
  if (recorded_hooks)
    recorded_hooks->push_back(std::move(f));
  else
    f();
}

Tensor renewed_each_run(const Shape& shape, DType dtype, Device device, std::function<Tensor()> make) {
  // Not in the recording's memory: it is written before the run, whose earlier kernels may use any of that.
  Allocator* const recording = std::exchange(detail::recording_allocator, nullptr);
  Tensor tensor = Tensor::empty(shape, dtype, device);
  detail::recording_allocator = recording;
  before_each_run([tensor, make = std::move(make)]() mutable { tensor.copy_from(make()); });
  return tensor;
}

// The graph is shared only so that a build without CUDA need not know how to destroy it.
struct Replay::Recording {
  std::vector<Tensor> inputs;
  std::shared_ptr<cuda::Graph> graph;  // owns the memory of what follows, so it is destroyed after that
  std::vector<Tensor> outputs;
  Hooks hooks;

  Recording(const std::vector<Tensor>& like, const Function& f) : inputs(copies(like)) {
    if constexpr (kHasCuda) {
      graph = std::make_shared<cuda::Graph>();
      recorded_hooks = &hooks;
      detail::recording_allocator = &graph->allocator();
      try {
        graph->record([&] { outputs = f(inputs); });
      } catch (...) {
        stop();
        throw;
      }
      stop();
    }
  }

  std::int64_t memory() const {
    if constexpr (kHasCuda) return graph->memory();
    return 0;
  }

  static void stop() {
    recorded_hooks = nullptr;
    detail::recording_allocator = nullptr;
  }

  std::vector<Tensor> run(const std::vector<Tensor>& from) {
    for (std::size_t i = 0; i < from.size(); ++i)
      if (from[i].defined()) inputs[i].copy_from(from[i]);
    for (const auto& hook : hooks) hook();
    if constexpr (kHasCuda) graph->launch();
    return copies(outputs);
  }
};

Replay::Replay(bool allowed) : allowed_(allowed) {}
Replay::~Replay() = default;

std::vector<Tensor> Replay::run(const std::vector<Tensor>& inputs, const Function& f) {
  if (worth_recording(inputs)) record(inputs, f);
  const bool fits = recording_ && !Profile::enabled() && alike(inputs, recording_->inputs);
  return fits ? recording_->run(inputs) : f(inputs);
}

void Replay::record(const std::vector<Tensor>& inputs, const Function& f) {
  last_inputs_.clear();
  const std::int64_t capacity = allocator_for(inputs[0].device()).capacity();
  try {
    recording_ = std::make_unique<Recording>(inputs, f);
    const std::int64_t taken = recording_->memory();
    if (taken <= capacity / 2) return;
    why_not_ = str("it would keep ", taken, " of ", capacity, " bytes of memory to itself");
  } catch (const OutOfMemory& error) {
    why_not_ = error.what();
  }
  recording_.reset();
  allowed_ = false;
}

std::size_t Replay::size() const {
  if constexpr (kHasCuda)
    if (recording_) return recording_->graph->size();
  return 0;
}

// The first run fills what is made once: algorithms chosen, kernels loaded, memory asked for.
bool Replay::worth_recording(const std::vector<Tensor>& inputs) {
  check(!inputs.empty() && inputs[0].defined(), "Replay: an input expected, whose device is that of all.");
  if (!allowed_ || recording_ || inputs[0].device().is_cpu() || DryRun::current() || Profile::enabled())
    return false;
  if constexpr (kHasCuda)
    if (cuda::waits_for_every_kernel()) return false;
  if (alike(inputs, last_inputs_)) return true;
  last_inputs_ = inputs;
  return false;
}

}  // namespace replk
