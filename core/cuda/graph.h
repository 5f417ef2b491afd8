// A CUDA graph and its memory, in plain C++. Defined only in a build with CUDA: use it inside
// `if constexpr (kHasCuda)`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "core/allocator.h"

namespace replk::cuda {

/// Kernels and copies of the compute stream, recorded once to be launched together.
class Graph {
 public:
  Graph();
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  /// Device memory that is handed out to nobody else as long as the graph lives: each launch writes to it.
  /// Taken from the device's own allocator; given back in the destructor, unless a tensor in it lives on.
  Allocator& allocator();
  /// Records what f launches on the compute stream, instead of running it. Once per graph.
  void record(const std::function<void()>& f);
  /// Queues all of it on the compute stream.
  void launch();
  /// Bytes that it keeps to itself.
  std::int64_t memory() const;
  /// Kernels and copies in it.
  std::size_t size() const { return size_; }

 private:
  struct Memory;
  std::unique_ptr<Memory> memory_;
  void* executable_ = nullptr;  // a cudaGraphExec_t
  std::size_t size_ = 0;
};

}  // namespace replk::cuda
