// What the two tensor-core kernels for small kernels share.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/cuda/vector.cuh"
#include "ops/depthwise_conv2d/cuda_planes.cuh"
#include "ops/depthwise_conv2d/cuda_small_plan.h"
#include "ops/depthwise_conv2d/cuda_spans.cuh"

namespace replk::cuda {

/// Calls f(K), known when compiled.
template <class F>
void with_small_kernel(const DepthwiseConv2dGeometry& g, const F& f) {
  if (g.kernel.h == 3)
    f(std::integral_constant<int, 3>());
  else if (g.kernel.h == 5)
    f(std::integral_constant<int, 5>());
  else
    f(std::integral_constant<int, 7>());
}

/// The chunk of a channel that a block works at.
struct Chunk {
  std::int64_t begin;  // its first element
  int planes, count;   // of planes, of elements

  __device__ Chunk(const SmallPlan& p, int channel, int chunk) {
    const int first = chunk * p.planes_at_once, pixels = p.height * p.width;
    begin = (static_cast<std::int64_t>(channel) * p.batch + first) * pixels;
    planes = min(p.planes_at_once, p.batch - first);
    count = planes * pixels;
  }
};

/// The chunks [begin, end) of x and dy in shared memory, two of each.
template <class T>
class PairedChunks {
 public:
  __device__ PairedChunks(const SmallPlan& plan, int channel, int begin, int end, const T* x, const T* dy,
                          char* shared)
      : plan_(plan), channel_(channel), begin_(begin), end_(end), x_(x), dy_(dy), shared_(shared) {}

  __device__ T* x(int chunk) const { return place(x_, chunk, 0); }
  __device__ T* dy(int chunk) const { return place(dy_, chunk, 1); }
  /// Starts copying a chunk, if there is one, as a group of copies.
  __device__ void start(int chunk) const {
    if (chunk < end_) {
      const Chunk c(plan_, channel_, chunk);
      load_span(x(chunk), x_ + c.begin, c.count);
      load_span(dy(chunk), dy_ + c.begin, c.count);
    }
    commit_copies();
  }

 private:
  __device__ T* place(const T* memory, int chunk, int which) const {
    return shared_like(shared_ + ((chunk - begin_) % 2 * 2 + which) * plan_.span_bytes,
                       memory + Chunk(plan_, channel_, chunk).begin);
  }

  const SmallPlan& plan_;
  int channel_, begin_, end_;
  const T *x_, *dy_;
  char* shared_;
};

}  // namespace replk::cuda
