// How the tensor-core kernels cut a convolution into blocks. Plain numbers: host code makes them, kernels
// read them.
#pragma once

#include "ops/depthwise_conv2d/depthwise_conv2d.h"

namespace replk::cuda {

/// Part of the planes of one channel: rows [row, row + rows) and columns [column, column + columns) of
/// `images` images. Row r of image i lies in shared memory at line (r - row + margin) * images + i:
/// neighbouring lines are neighbouring rows, for all images at a time. Of `lines` lines of `pitch` bytes all
/// that holds no pixel holds zeros.
struct PlaneRegion {
  int images, image_bits, margin;  // images = 2^image_bits
  int row, rows, column, columns;
  int lines, pitch;
  constexpr int bytes() const { return lines * pitch; }
};

/// Shared memory of a block: two fit in a multiprocessor of 164 KB (sm_80) or 228 KB (sm_90); one where it
/// must be.
inline constexpr int kSharedGoal = 104 * 1024, kSharedMost = 160 * 1024;

/// Tiles of 8 columns to either side of the diagonal within which a row of the kernel lies, for maps that are
/// not cut into parts.
constexpr int reach_of(int kernel, int padding) {
  return ((padding > kernel - padding ? padding : kernel - padding) + 7) / 8;
}

/// Forward, or with `turned` the input gradient: the same with dy for x and the kernel turned by 180 degrees.
struct CorrelationPlan {
  static constexpr int kThreads = 224;  // of a block at most: 7 warps, as many as take a map of 56 rows

  int channels, batch, in_h, in_w, out_h, out_w, kernel_h, kernel_w, padding_h, padding_w;
  bool turned;
  int channels_at_once, image_groups;
  int row_parts, part_rows, column_parts, part_columns;  // of the output; columns are 8, 16, 32 or 56
  PlaneRegion region;                                    // the largest of any part
  int zeros, row_length;                                 // of a row of a kernel in shared memory
  int tiles;  // of 16 rows, in the registers of a warp: 4, or 2 of 56 columns and of 32 of a wider map
  int threads, shared_bytes;

  CorrelationPlan(const DepthwiseConv2dGeometry& g, bool turned, int element_bytes);
  std::int64_t blocks() const {
    return static_cast<std::int64_t>((channels + channels_at_once - 1) / channels_at_once) * image_groups *
           row_parts * column_parts;
  }
  /// True when `columns` columns hold every input column of the map.
  bool whole(int columns) const { return column_parts == 1 && padding_w >= 0 && in_w <= columns; }
  int reach() const { return reach_of(kernel_w, padding_w); }

 private:
  // Into parts of part_columns, with as many images to a tile as there is room for.
  void cut(int element_bytes, int tiles_of_a_warp);
  void choose_images(int images, int element_bytes);
};

/// The weight gradient.
struct WeightPlan {
  int channels, batch, in_h, in_w, out_h, out_w, kernel_h, kernel_w, padding_h, padding_w;
  int row_parts, column_parts;  // of dy
  PlaneRegion dy, x;            // the largest of any segment
  int tile_rows, tile_columns;  // of 16 columns of dy by 8 of x, in the registers of a warp: all of a segment
  int parts;                    // blocks of a channel
  int threads;

  WeightPlan(const DepthwiseConv2dGeometry& g, int element_bytes);
  /// Images by rows by columns of dy that a block brings into shared memory at a time.
  constexpr int segments() const { return (batch + dy.images - 1) / dy.images * row_parts * column_parts; }
  int reach() const { return reach_of(kernel_w, padding_w); }
  /// True when a segment holds every column of the map.
  bool whole() const { return column_parts == 1 && x.columns == in_w; }
  int shared_bytes(int rows, int columns) const;

 private:
  void choose_images(int images);
};

}  // namespace replk::cuda
