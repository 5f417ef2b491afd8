#include "core/cuda/runtime.h"

#include <cstdlib>
#include <cstring>

#include "core/caching_allocator.h"
#include "core/cuda/check.h"

namespace replk::cuda {
namespace {

// What to do about an error, as a sentence with a space in front; empty where CUDA's own words are enough.
const char* advice(cudaError_t status) {
  switch (status) {
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidDeviceFunction:
    case cudaErrorUnsupportedPtxVersion:
      return " This build has no code for this GPU: configure with -DCMAKE_CUDA_ARCHITECTURES=native on a "
             "machine that has it.";
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
      return " Is there a GPU, is its driver new enough for this build (nvidia-smi shows up to which CUDA it "
             "goes), and does CUDA_VISIBLE_DEVICES leave one visible?";
    case cudaErrorIllegalAddress:
    case cudaErrorMisalignedAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorIllegalInstruction:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
      return " A kernel launched earlier may be at fault. Run again with REPLK_SYNC=1, which names it, or "
             "under "
             "compute-sanitizer; this process cannot use the GPU any more.";
    default:
      return "";
  }
}

void require(Device device) {
  const std::string reason = unavailable_reason();
  check(reason.empty(), "cuda: ", device, " cannot be used: ", reason, ".");
  check(device.index == 0, "cuda: ", device, " was asked for, and a process computes on cuda:0 only. Choose ",
        "the GPU that this is with CUDA_VISIBLE_DEVICES=", device.index, ".");
}

struct Streams {
  Streams() {
    require(Device::cuda());
    check_call(cudaStreamCreateWithFlags(&compute, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    check_call(cudaStreamCreateWithFlags(&copy, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  }
  cudaStream_t compute = nullptr, copy = nullptr;
};

// Never destroyed: at the end of the process the driver may be gone before static objects are.
const Streams& streams() {
  static const Streams& both = *new Streams;
  return both;
}

class DeviceMemory final : public MemorySource {
 public:
  void* take(std::size_t bytes) noexcept override {
    void* memory = nullptr;
    if (cudaMalloc(&memory, bytes) == cudaSuccess) return memory;
    cudaGetLastError();  // or the next launch would report it again
    return nullptr;
  }
  void give_back(void* memory) noexcept override { cudaFree(memory); }
  std::size_t alignment() const override { return kCudaAlignment; }
  std::string name() const override { return str(Device::cuda()); }
  std::int64_t left() const noexcept override {
    std::size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    return static_cast<std::int64_t>(free);
  }
  std::string what_is_left() const noexcept override {
    std::size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    return str(free, " of its ", total, " bytes are free");
  }
};

class PinnedMemory final : public MemorySource {
 public:
  void* take(std::size_t bytes) noexcept override {
    void* memory = nullptr;
    if (cudaHostAlloc(&memory, bytes, cudaHostAllocDefault) == cudaSuccess) return memory;
    cudaGetLastError();
    return nullptr;
  }
  void give_back(void* memory) noexcept override { cudaFreeHost(memory); }
  std::size_t alignment() const override { return kCudaAlignment; }
  std::string name() const override { return "the CPU (page-locked)"; }
  std::int64_t left() const noexcept override { return 0; }  // nobody knows
  std::string what_is_left() const noexcept override { return "the system lends no more"; }
};

// Copies from pageable memory return when the bytes have been read; those from page-locked memory do not.
bool is_pinned(const void* host) {
  cudaPointerAttributes attributes{};
  if (cudaPointerGetAttributes(&attributes, host) != cudaSuccess) {
    cudaGetLastError();
    return false;
  }
  return attributes.type == cudaMemoryTypeHost;
}

bool recording(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check_call(cudaStreamIsCapturing(stream, &status), "cudaStreamIsCapturing");
  return status != cudaStreamCaptureStatusNone;
}

}  // namespace

void check_call(cudaError_t status, const char* call) {
  if (status == cudaSuccess) [[likely]]
    return;
  cudaGetLastError();  // forget it, if it is one that can be forgotten
  throw Error(str("cuda: ", call, ": ", cudaGetErrorString(status), " (", cudaGetErrorName(status), ").",
                  advice(status)));
}

bool waits_for_every_kernel() {
  static const bool on = [] {
    const char* value = std::getenv("REPLK_SYNC");
    return value && std::strcmp(value, "") != 0 && std::strcmp(value, "0") != 0;
  }();
  return on;
}

void check_launch(const char* kernel) {
  cudaError_t status = cudaGetLastError();
  if (status == cudaSuccess && waits_for_every_kernel()) status = cudaStreamSynchronize(compute_stream());
  if (status != cudaSuccess) [[unlikely]]
    check_call(status, str("kernel of ", kernel).c_str());
}

cudaStream_t compute_stream() { return streams().compute; }
cudaStream_t copy_stream() { return streams().copy; }

std::string unavailable_reason() {
  static const std::string& reason = *new std::string([]() -> std::string {
    int count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status == cudaSuccess && count > 0) return "";
    cudaGetLastError();
    int driver = 0;
    const bool has_driver = cudaDriverGetVersion(&driver) == cudaSuccess && driver > 0;
    cudaGetLastError();
    if (!has_driver) return "no GPU driver is installed on this machine";
    if (status == cudaSuccess || status == cudaErrorNoDevice) return "no GPU is visible on this machine";
    if (status == cudaErrorInsufficientDriver)
      return str("the GPU's driver goes up to CUDA ", driver / 1000, '.', driver % 1000 / 10,
                 ", and this build needs ", CUDART_VERSION / 1000, '.', CUDART_VERSION % 1000 / 10);
    return str("the GPU's driver answers: ", cudaGetErrorString(status));
  }());
  return reason;
}

DeviceInfo device_info(Device device) {
  require(device);
  static const cudaDeviceProp properties = [] {
    cudaDeviceProp result{};
    check_call(cudaGetDeviceProperties(&result, 0), "cudaGetDeviceProperties");
    return result;
  }();
  std::size_t free = 0, total = 0;
  check_call(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return {.name = properties.name,
          .compute_capability_major = properties.major,
          .compute_capability_minor = properties.minor,
          .multiprocessors = properties.multiProcessorCount,
          .total_bytes = static_cast<std::int64_t>(total),
          .free_bytes = static_cast<std::int64_t>(free)};
}

void synchronize(Device device) {
  require(device);
  check_call(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
}

Allocator& device_allocator(Device device) {
  require(device);
  static Allocator& allocator = *new CachingAllocator(*new DeviceMemory, memory_limit());
  return allocator;
}

Allocator& pinned_allocator() {
  static Allocator& allocator = *new CachingAllocator(*new PinnedMemory);
  return allocator;
}

void copy_bytes(void* to, Device to_device, const void* from, Device from_device, std::size_t bytes) {
  if (bytes == 0) return;
  const cudaStream_t stream = compute_stream();
  check(!recording(stream) || (!to_device.is_cpu() && !from_device.is_cpu()), "cuda: a copy from ",
        from_device, " to ", to_device, " cannot be recorded: it would read or write ",
        "what the CPU has there now. Make it by renewed_each_run.");
  check_call(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream), "cudaMemcpyAsync");
  if (to_device.is_cpu() || (from_device.is_cpu() && is_pinned(from)))
    check_call(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
}

}  // namespace replk::cuda
