#include "ops/depthwise_conv2d/cuda_plan.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace replk::cuda {
namespace {

int ceil_div(int a, int b) { return (a + b - 1) / b; }
int round_up(int a, int b) { return ceil_div(a, b) * b; }
int bits_of(int power_of_two) { return std::countr_zero(static_cast<unsigned>(power_of_two)); }
int narrow(std::int64_t a) { return static_cast<int>(a); }

// The most images that share a tile: 16, or the power of two that holds a smaller batch.
int most_images(int batch) {
  int images = 16;
  while (images > 1 && images >= 2 * batch) images /= 2;
  return images;
}

// Bytes from one line to the next: whole pieces of A (16 columns or a divisor of it), and 16 more, so that
// the 8 lines of a matrix load lie in different banks.
int pitch_of(int columns, int element_bytes) { return round_up(columns, 16) * element_bytes + 16; }

}  // namespace

CorrelationPlan::CorrelationPlan(const DepthwiseConv2dGeometry& g, bool turn, int element_bytes)
    : channels(narrow(g.channels)),
      batch(narrow(g.batch)),
      in_h(narrow(turn ? g.output.h : g.input.h)),
      in_w(narrow(turn ? g.output.w : g.input.w)),
      out_h(narrow(turn ? g.input.h : g.output.h)),
      out_w(narrow(turn ? g.input.w : g.output.w)),
      kernel_h(narrow(g.kernel.h)),
      kernel_w(narrow(g.kernel.w)),
      padding_h(narrow(turn ? g.kernel.h - 1 - g.padding.h : g.padding.h)),
      padding_w(narrow(turn ? g.kernel.w - 1 - g.padding.w : g.padding.w)),
      turned(turn) {
  // Columns in as few parts as fit into registers, of 8, 16, 32 or 56.
  column_parts = ceil_div(out_w, 56);
  const int columns = ceil_div(out_w, column_parts);
  part_columns = columns <= 8 ? 8 : columns <= 16 ? 16 : columns <= 32 ? 32 : 56;
  if (column_parts > 1 || padding_w < 0 || in_w > round_up(part_columns, 16)) part_columns = 56;
  cut(element_bytes, part_columns == 56 ? 2 : 4);
  if (part_columns == 56 && shared_bytes > kSharedMost) {  // the rows of a large kernel in f32
    part_columns = 32;
    cut(element_bytes, 2);
  }
}

void CorrelationPlan::cut(int element_bytes, int tiles_of_a_warp) {
  tiles = tiles_of_a_warp;
  column_parts = ceil_div(out_w, part_columns);
  region.columns = std::min(in_w, part_columns + kernel_w - 1);
  region.pitch =
      pitch_of(std::max(region.columns, part_columns), element_bytes);  // whole pieces for all steps
  zeros = part_columns;
  row_length = round_up(zeros + std::max(padding_w, 0) + round_up(region.columns, 16) + 2, 8);

  // The more images share a tile, the fewer rows of it lie outside; but a region has to leave room for
  // others.
  for (int images = most_images(batch);; images /= 2) {
    choose_images(images, element_bytes);
    if (images == 1 || (row_parts == 1 && shared_bytes <= kSharedGoal)) break;
  }
}

void CorrelationPlan::choose_images(int images, int element_bytes) {
  constexpr int kWarps = kThreads / 32;
  // Of the kernel as it is, or the staging lines of all warps in its place.
  const int taps_bytes = round_up(kernel_h * kernel_w * element_bytes, 16);
  const int staging_bytes = kWarps * 16 * (part_columns * element_bytes + 16);
  const int tile_rows = 16 / images, kernel_bytes = kernel_h * 2 * row_length * element_bytes;
  image_groups = ceil_div(batch, images);
  region.images = images, region.image_bits = bits_of(images);
  region.margin = tile_rows * tiles - 1;  // zeros for all tiles of a warp, of which one row may lie inside
  // All rows, or as many as fit.
  const int most_lines = (kSharedMost - kernel_bytes - std::max(taps_bytes, staging_bytes)) / region.pitch;
  const int most_rows = most_lines / images - 2 * region.margin;
  row_parts = 1;
  part_rows = out_h;
  region.rows = in_h;
  if (region.rows > most_rows) {
    const int step = tile_rows * tiles;
    part_rows = std::max((most_rows - kernel_h + 1) / step, 1) * step;
    row_parts = ceil_div(out_h, part_rows);
    region.rows = std::min(in_h, part_rows + kernel_h - 1);
  }
  region.lines = (region.rows + 2 * region.margin) * images;
  // Small maps: several channels, so that every warp of a block has something to do.
  const int groups = ceil_div(part_rows, tile_rows * tiles);
  const int bytes = region.bytes() + kernel_bytes;
  channels_at_once =
      std::clamp(std::min(kWarps / groups, kSharedGoal / (2 * bytes)), 1, std::min(channels, kWarps));
  threads = 32 * std::clamp(groups * channels_at_once, 1, kWarps);
  shared_bytes = channels_at_once * bytes + std::max(channels_at_once * taps_bytes, staging_bytes);
}

WeightPlan::WeightPlan(const DepthwiseConv2dGeometry& g, int element_bytes)
    : channels(narrow(g.channels)),
      batch(narrow(g.batch)),
      in_h(narrow(g.input.h)),
      in_w(narrow(g.input.w)),
      out_h(narrow(g.output.h)),
      out_w(narrow(g.output.w)),
      kernel_h(narrow(g.kernel.h)),
      kernel_w(narrow(g.kernel.w)),
      padding_h(narrow(g.padding.h)),
      padding_w(narrow(g.padding.w)) {
  constexpr int kWidest = 56, kPart = 32;  // columns of a map taken whole, and of a part of a wider one
  dy.columns = out_w <= kWidest && in_w <= kWidest ? out_w : std::min(out_w, kPart);
  column_parts = ceil_div(out_w, dy.columns);
  const int met = dy.columns + kernel_w - 1;  // columns of x that meet a tap
  x.columns = std::min(in_w, met);
  constexpr std::pair<int, int> kTiles[] = {{1, 1}, {1, 2}, {2, 4}, {2, 7}, {4, 7}, {2, 12}};
  for (const auto& [rows, columns] : kTiles) {
    tile_rows = rows, tile_columns = columns;
    if (dy.columns <= 16 * rows && x.columns <= 8 * columns) break;
  }
  // 16-bit lines are read by matrix loads, as in the forward pass; f32 ones element by element, 4 lines and 8
  // columns at a time, which are in different banks when lines are 32 bytes apart (modulo 128).
  const auto pitch = [&](int columns) {
    return element_bytes == 4 ? round_up(columns * 4 - 32, 128) + 32 : pitch_of(columns, element_bytes);
  };
  // Lines are as long as what is read of them: beyond them lies the next line, and no zeros.
  dy.pitch = pitch(16 * tile_rows), x.pitch = pitch(round_up(std::min(8 * tile_columns, met), 16));
  for (int images = most_images(batch);; images /= 2) {
    choose_images(images);
    if (images == 1 || (row_parts == 1 && dy.bytes() + x.bytes() <= kSharedGoal)) break;
  }
  threads = 32 * std::min(kernel_h, 8);
  constexpr int kBlocks = 512;  // that keep a large GPU busy
  parts = std::clamp(ceil_div(kBlocks, channels), 1, segments());
}

void WeightPlan::choose_images(int images) {
  constexpr int kTail = 16;  // lines that the last product of a range reads past it
  dy.images = x.images = images, dy.image_bits = x.image_bits = bits_of(images);
  dy.margin = x.margin = 0;
  for (row_parts = 1;; ++row_parts) {
    dy.rows = ceil_div(out_h, row_parts);
    x.rows = std::min(in_h, dy.rows + kernel_h - 1);
    dy.lines = dy.rows * images + kTail, x.lines = x.rows * images + kTail;
    if (dy.rows == 1 || dy.bytes() + x.bytes() <= kSharedMost - 48 * 1024) break;
  }
  row_parts = ceil_div(out_h, dy.rows);
}

int WeightPlan::shared_bytes(int rows, int columns) const {
  const int scratch = threads / 32 * 64 * (columns + 2 * rows - 1);
  return dy.bytes() + x.bytes() + ((kernel_h * kernel_w + 3) / 4 * 4 + scratch) * 4;
}

bool tensor_core_applies(const DepthwiseConv2dGeometry& g, DType dtype) {
  if (g.stride != Extent2d(1) || g.dilation != Extent2d(1)) return false;
  if (dtype != DType::f32 && dtype != DType::bf16 && dtype != DType::f16) return false;
  if (g.channels == 0 || g.batch == 0) return false;
  constexpr std::int64_t kMost = 1 << 24, kMostSide = 1 << 16;  // keep sizes in 32 bits
  if (g.channels > kMost || g.batch > kMost) return false;
  for (const std::int64_t side : {g.input.h, g.input.w, g.output.h, g.output.w})
    if (side > kMostSide) return false;
  constexpr std::int64_t kLargest = 65;  // kernel whose weight gradient fits in registers
  if (g.kernel.h > kLargest || g.kernel.w > kLargest || g.padding.h > kMost || g.padding.w > 512)
    return false;
  const int bytes = static_cast<int>(size_of(dtype));
  return CorrelationPlan(g, false, bytes).shared_bytes <= kSharedMost &&
         CorrelationPlan(g, true, bytes).shared_bytes <= kSharedMost &&
         WeightPlan(g, bytes).shared_bytes(4, 12) <= kSharedMost;
}

}  // namespace replk::cuda
