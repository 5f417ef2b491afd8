// How the direct kernel cuts a convolution into blocks and threads. Plain numbers: host code makes them,
// kernels read them.
#pragma once

#include "ops/depthwise_conv2d/depthwise_conv2d.h"

namespace replk::cuda {

/// Of one pass. `in` is what is read (x, or dy for the input gradient), `out` what a thread has a tile of (y,
/// dx, or dy for the weight gradient). A block takes some whole planes, or some strips (rows of tiles) of
/// one: either way neighbouring bytes of memory, which travel 16 at a time whatever the width of the map is.
struct DirectPlan {
  static constexpr int kThreads = 128;  // of a block at most

  int batch, in_h, in_w, out_h, out_w;
  std::int64_t planes;
  int tile_rows, tile_columns;  // of out, in the registers of a thread
  bool spread;                  // the input gradient for stride 2: 2 x 2 elements of out for one of in
  int stride, kernel;
  int across, strips, parts;  // tiles in a row; rows of tiles in a block; blocks that share a plane
  int planes_at_once;
  int threads, in_bytes, out_bytes, shared_bytes;

  /// `pairs`: bf16 elements are read and written two at a time, for which rows must be even.
  DirectPlan(const DepthwiseConv2dGeometry& g, DepthwisePass pass, int element_bytes, bool pairs);

  std::int64_t blocks() const { return (planes + planes_at_once - 1) / planes_at_once * parts; }
  int tiles() const { return planes_at_once * strips * across; }
  /// Rows of `in` that some strips read, within the map.
  int in_rows(int strips_read) const;

 private:
  void choose_block(int element_bytes);
  void count_bytes(int element_bytes);
};

}  // namespace replk::cuda
