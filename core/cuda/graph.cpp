#include "core/cuda/graph.h"

#include <utility>
#include <vector>

#include "core/caching_allocator.h"
#include "core/cuda/check.h"
#include "core/cuda/runtime.h"

namespace replk::cuda {
namespace {

// Blocks borrowed from the device's allocator until the end: what the recording has freed, its earlier
// kernels still write to at each launch.
class Borrowed final : public MemorySource {
 public:
  ~Borrowed() override {
    for (const auto& [memory, bytes] : blocks_) lender_.deallocate(memory, bytes);
  }
  void* take(std::size_t bytes) noexcept override {
    try {
      blocks_.reserve(blocks_.size() + 1);
      blocks_.emplace_back(lender_.allocate(bytes), bytes);
      return blocks_.back().first;
    } catch (const std::exception&) {
      return nullptr;
    }
  }
  void give_back(void*) noexcept override {}
  std::int64_t taken() const {
    std::int64_t sum = 0;
    for (const auto& [memory, bytes] : blocks_) sum += static_cast<std::int64_t>(bytes);
    return sum;
  }
  std::size_t alignment() const override { return kCudaAlignment; }
  std::string name() const override { return str(Device::cuda(), " (a recorded step)"); }
  std::int64_t left() const noexcept override { return lender_.capacity() - lender_.stats().in_use; }
  std::string what_is_left() const noexcept override { return str(left(), " bytes are free"); }

 private:
  Allocator& lender_ = device_allocator(Device::cuda());
  std::vector<std::pair<void*, std::size_t>> blocks_;
};

// Ends a recording that failed, so that the stream can be used again.
void abandon(cudaStream_t stream) {
  cudaGraph_t graph = nullptr;
  cudaStreamEndCapture(stream, &graph);
  if (graph) cudaGraphDestroy(graph);
  cudaGetLastError();
}

}  // namespace

struct Graph::Memory {
  Borrowed source;
  CachingAllocator allocator{source};
};

Graph::Graph() : memory_(std::make_unique<Memory>()) {}

Graph::~Graph() {
  // What is queued may still be running; after that nobody writes to the memory that goes back.
  cudaStreamSynchronize(compute_stream());
  if (executable_) cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(executable_));
  // A tensor that was made while recording and outlives it (what a layer keeps of its weight) keeps them all.
  static auto& kept = *new std::vector<std::unique_ptr<Memory>>;
  if (memory_->allocator.stats().in_use > 0) kept.push_back(std::move(memory_));
}

Allocator& Graph::allocator() { return memory_->allocator; }

std::int64_t Graph::memory() const { return memory_->source.taken(); }

void Graph::record(const std::function<void()>& f) {
  check(!executable_, "Graph::record: it was recorded already.");
  const cudaStream_t stream = compute_stream();
  // Relaxed: asking for more memory is no work of the stream and happens now.
  check_call(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "cudaStreamBeginCapture");
  try {
    f();
  } catch (...) {
    abandon(stream);
    throw;
  }
  cudaGraph_t graph = nullptr;
  check_call(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
  cudaGraphExec_t executable = nullptr;
  cudaError_t status = cudaGraphGetNodes(graph, nullptr, &size_);
  if (status == cudaSuccess) status = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  check_call(status, "cudaGraphInstantiate");
  executable_ = executable;
}

void Graph::launch() {
  check_call(cudaGraphLaunch(static_cast<cudaGraphExec_t>(executable_), compute_stream()), "cudaGraphLaunch");
}

}  // namespace replk::cuda
