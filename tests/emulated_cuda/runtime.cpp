#include <cstdlib>
#include <cstring>
#include <mutex>
#include <set>
#include <vector>

#include "tests/emulated_cuda/cuda_runtime_api.h"
#include "tests/emulated_cuda/memory.h"

using namespace replk::emulated;

struct EmulatedGraph {
  std::vector<std::function<void()>> work;
};

namespace {

thread_local EmulatedGraph* recorded = nullptr;

std::mutex mutex;
std::set<std::pair<std::uintptr_t, std::uintptr_t>>& pinned() {  // [begin, end)
  static auto& all = *new std::set<std::pair<std::uintptr_t, std::uintptr_t>>;
  return all;
}

}  // namespace

void replk::emulated::run_or_record(std::function<void()> work) {
  if (recorded)
    recorded->work.push_back(std::move(work));
  else
    work();
}

const char* cudaGetErrorName(cudaError_t) { return "cudaError"; }
const char* cudaGetErrorString(cudaError_t) { return "an error of the emulated GPU"; }

// As CUDA has it, CUDA_VISIBLE_DEVICES= hides the GPU.
cudaError_t cudaGetDeviceCount(int* count) {
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  *count = visible && *visible == '\0' ? 0 : 1;
  return *count ? cudaSuccess : cudaErrorNoDevice;
}

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  *memory = take_device(bytes);
  return *memory ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFree(void* memory) {
  give_back_device(memory);
  return cudaSuccess;
}

cudaError_t cudaHostAlloc(void** memory, std::size_t bytes, unsigned) {
  *memory = std::aligned_alloc(512, (bytes + 511) / 512 * 512);
  if (!*memory) return cudaErrorMemoryAllocation;
  const std::lock_guard lock(mutex);
  const auto begin = reinterpret_cast<std::uintptr_t>(*memory);
  pinned().emplace(begin, begin + bytes);
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void* memory) {
  const std::lock_guard lock(mutex);
  pinned().erase(pinned().lower_bound({reinterpret_cast<std::uintptr_t>(memory), 0}));
  std::free(memory);
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *free = device_bytes_free(), *total = device_bytes();
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* memory) {
  const std::lock_guard lock(mutex);
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  bool inside = false;
  for (const auto& [begin, end] : pinned()) inside = inside || (begin <= address && address < end);
  attributes->type = inside ? cudaMemoryTypeHost : cudaMemoryTypeUnregistered;
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t) {
  run_or_record([=] {
    const DeviceAccess access;
    std::memcpy(to, from, bytes);
  });
  return cudaSuccess;
}

cudaError_t cudaMemset2DAsync(void* to, std::size_t pitch, int value, std::size_t width, std::size_t height,
                              cudaStream_t) {
  run_or_record([=] {
    const DeviceAccess access;
    for (std::size_t row = 0; row < height; ++row)
      std::memset(static_cast<char*>(to) + row * pitch, value, width);
  });
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  std::strcpy(properties->name, "emulated GPU");
  properties->major = 9, properties->minor = 0, properties->multiProcessorCount = 4;
  properties->sharedMemPerBlockOptin = kMostSharedBytes;
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode) {
  recorded = new EmulatedGraph;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t* graph) {
  *graph = std::exchange(recorded, nullptr);
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  *status = recorded ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t*, std::size_t* count) {
  *count = graph->work.size();
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  *executable = new EmulatedGraph(*graph);
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t) {
  for (const auto& work : executable->work) work();
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) { return cudaGraphDestroy(executable); }
