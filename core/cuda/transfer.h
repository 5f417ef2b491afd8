// One copy on the copy stream, between pinned CPU memory and the device, in plain C++. Defined only in a
// build with CUDA.
#pragma once

#include <cstddef>

namespace replk::cuda {

/// Starts in the constructor, after what the compute stream was given so far. The destructor waits for it.
class Transfer {
 public:
  Transfer(void* to, const void* from, std::size_t bytes);
  ~Transfer();
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  /// Makes kernels launched from now on wait for the copy.
  void join_compute();
  /// Returns when the copy is over.
  void wait();
  bool done() const;

 private:
  void* arrived_ = nullptr;  // a cudaEvent_t
};

}  // namespace replk::cuda
