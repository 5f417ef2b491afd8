#include "core/cuda/transfer.h"

#include "core/cuda/check.h"

namespace replk::cuda {
namespace {

cudaEvent_t event(void* handle) { return static_cast<cudaEvent_t>(handle); }

cudaEvent_t new_event() {
  cudaEvent_t result = nullptr;
  check_call(cudaEventCreateWithFlags(&result, cudaEventDisableTiming), "cudaEventCreateWithFlags");
  return result;
}

}  // namespace

Transfer::Transfer(void* to, const void* from, std::size_t bytes) : arrived_(new_event()) {
  // The memory at either end may still be in use by kernels on their way: the copy starts after them. One
  // event serves both directions; a wait refers to what was recorded last when the wait was asked for.
  check_call(cudaEventRecord(event(arrived_), compute_stream()), "cudaEventRecord");
  check_call(cudaStreamWaitEvent(copy_stream(), event(arrived_), 0), "cudaStreamWaitEvent");
  check_call(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, copy_stream()), "cudaMemcpyAsync");
  check_call(cudaEventRecord(event(arrived_), copy_stream()), "cudaEventRecord");
}

Transfer::~Transfer() {
  cudaEventSynchronize(event(arrived_));
  cudaEventDestroy(event(arrived_));
}

void Transfer::join_compute() {
  check_call(cudaStreamWaitEvent(compute_stream(), event(arrived_), 0), "cudaStreamWaitEvent");
}

void Transfer::wait() { check_call(cudaEventSynchronize(event(arrived_)), "cudaEventSynchronize"); }

bool Transfer::done() const {
  const cudaError_t status = cudaEventQuery(event(arrived_));
  if (status == cudaErrorNotReady) {
    cudaGetLastError();
    return false;
  }
  check_call(status, "cudaEventQuery");
  return true;
}

}  // namespace replk::cuda
