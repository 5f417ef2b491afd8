// How the tensor-core kernels for small kernels and for narrow maps (cuda_small.cu, cuda_seven.cu,
// cuda_small_weight.cu, cuda_narrow_weight.cu) cut a convolution into
// blocks, warps and lanes. Plain numbers: host code makes them, kernels read them.
#pragma once

#include "ops/depthwise_conv2d/depthwise_conv2d.h"

namespace replk::cuda {

/// What both have in common. A block takes a share of the planes of one channel, some of them (a chunk, which
/// are neighbouring bytes) at a time: while one chunk is computed the next is on its way.
struct SmallPlan {
  static constexpr int kThreads = 128;  // of a block

  int channels, batch, height, width;
  int planes_at_once, chunks, shares;  // planes of a chunk; chunks of a channel; blocks of a channel
  int span_bytes, shared_bytes;        // of a chunk in shared memory; of a block

  std::int64_t blocks() const { return static_cast<std::int64_t>(channels) * shares; }

 protected:
  explicit SmallPlan(const DepthwiseConv2dGeometry& g);
  /// `unit`: planes that fill `items` turns of a warp. `most`: blocks where chunks are large.
  void choose_chunks(int unit, int items, int most);
};

/// Forward and the input gradient. A line is `rows` rows of a plane; the 8 lines that a warp takes at a time
/// are 2^step_bits apart, so that its lanes meet different banks of shared memory where that is possible.
struct SmallCorrelationPlan : SmallPlan {
  int rows, lines_of_plane, step_bits;
  int tiles;  // of 16 columns
  explicit SmallCorrelationPlan(const DepthwiseConv2dGeometry& g);
};

/// The weight gradient. A strip is 14 columns of a plane; lanes that take the same columns are plane_step
/// planes apart, for the banks again.
struct SmallWeightPlan : SmallPlan {
  int strips_of_plane, plane_step;
  int groups, row_tiles;  // of 8 strips in a chunk; of 8 rows
  explicit SmallWeightPlan(const DepthwiseConv2dGeometry& g);
};

/// The weight gradient of narrow maps (cuda_narrow_weight.cu).
struct NarrowWeightPlan : SmallPlan {
  static constexpr int kMostColumns = 14, kMostRows = 16;
  int chunks_bytes;  // in shared memory
  int apart;         // planes between those of neighbouring lanes, for the banks
  explicit NarrowWeightPlan(const DepthwiseConv2dGeometry& g);
  bool fits_in_8() const { return width <= 8 && height <= 8; }
};

/// 3x3, 5x5 and 7x7 at stride 1 with padding that keeps the size, in bf16 and f16, on maps of 7 x 7 and those
/// with even rows and up to 19,200 pixels.
bool small_applies(const DepthwiseConv2dGeometry& g, DType dtype);
/// The same for these tensors, which must begin at multiples of 4 bytes: as tensors do, but not every slice.
bool small_applies(const DepthwiseConv2dGeometry& g, const Tensor& a, const Tensor& b);
/// The weight gradient of any kernel whose output has the size of the map, at stride 1, in bf16 and f16, on
/// maps up to 14 columns and 16 rows; tensors as above.
bool narrow_applies(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& dy);

/// Forward with in = x and out = y; `turned` the input gradient: in = dy, out = dx, no bias.
void correlate_small(const char* name, const DepthwiseConv2dGeometry& g, bool turned, const Tensor& in,
                     const Tensor& weight, const Tensor& bias, GradTarget out);
/// The same for maps of 7 x 7, which it leaves to:
void correlate_seven(const char* name, const DepthwiseConv2dGeometry& g, bool turned, const Tensor& in,
                     const Tensor& weight, const Tensor& bias, GradTarget out);
/// Maps of 7 x 7 are left to weigh_narrow.
void weigh_small(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& dy, GradTarget dweight);
void weigh_narrow(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& dy, GradTarget dweight);

}  // namespace replk::cuda
