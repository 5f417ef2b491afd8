#include "ops/depthwise_conv2d/cuda_small_plan.h"

#include <algorithm>
#include <cstdint>
#include <numeric>

namespace replk::cuda {
namespace {

constexpr int kElementBytes = 2;
constexpr int kMostPixels = 19200;  // of a chunk, four of which fit in the shared memory of a block of sm_80
constexpr std::int64_t kMostImages = 1 << 15;  // keep products of chunks and blocks in 32 bits
constexpr int kBlocks = 528;                   // 4 to a multiprocessor of a large GPU

int ceil_div(int a, int b) { return (a + b - 1) / b; }
int round_up(int a, int b) { return ceil_div(a, b) * b; }
int narrow(std::int64_t a) { return static_cast<int>(a); }

// The most of 32 lanes that meet in one bank when lane 4 g + t reads word t of line g * step.
int lanes_of_a_bank(int height, int width, int rows, int lines_of_plane, int step) {
  int lanes[32] = {}, most = 0;
  for (int g = 0; g < 8; ++g) {
    const int line = g * step, plane = line / lines_of_plane;
    const int first = (plane * height + line % lines_of_plane * rows) * width / 2;
    for (int t = 0; t < 4; ++t) most = std::max(most, ++lanes[(first + t) % 32]);
  }
  return most;
}

bool in_pairs(const Tensor& a, const Tensor& b) {
  const auto even = [](const Tensor& t) { return reinterpret_cast<std::uintptr_t>(t.raw()) % 4 == 0; };
  return even(a) && even(b);
}

}  // namespace

SmallPlan::SmallPlan(const DepthwiseConv2dGeometry& g)
    : channels(narrow(g.channels)),
      batch(narrow(g.batch)),
      height(narrow(g.input.h)),
      width(narrow(g.input.w)) {}

// Chunks as small as give every warp something to do. As many blocks as run at the same time: more would only
// take turns, where one has its next chunk on the way. But large chunks let fewer run, and those do take
// turns.
void SmallPlan::choose_chunks(int unit, int items, int most) {
  constexpr int kWarps = kThreads / 32, kLargeChunk = 8192;
  const int pixels = height * width;
  planes_at_once = std::min(ceil_div(kWarps, items) * unit, std::max(kMostPixels / pixels, 1));
  planes_at_once = std::min(planes_at_once, batch);
  chunks = ceil_div(batch, planes_at_once);
  shares = std::clamp((planes_at_once * pixels > kLargeChunk ? most : kBlocks) / channels, 1, chunks);
  // A span may begin anywhere within 16 bytes.
  span_bytes = round_up(planes_at_once * pixels * kElementBytes, 16) + 16;
}

SmallCorrelationPlan::SmallCorrelationPlan(const DepthwiseConv2dGeometry& g) : SmallPlan(g) {
  const int kernel = narrow(g.kernel.h);
  int best = INT32_MAX;
  for (const int r : {7, 14})
    for (const int bits : {0, 1, 2}) {
      const int lines = ceil_div(height, r);
      const int cost = lines * (r + kernel - 1) * (2 + lanes_of_a_bank(height, width, r, lines, 1 << bits));
      if (cost < best) best = cost, rows = r, lines_of_plane = lines, step_bits = bits;
    }
  tiles = ceil_div(width, 16);
  const int unit = (8 << step_bits) / std::gcd(8 << step_bits, lines_of_plane);
  choose_chunks(unit, unit * lines_of_plane / 8 * tiles, INT32_MAX);
  shared_bytes = (shares < chunks ? 3 : 2) * span_bytes;
}

SmallWeightPlan::SmallWeightPlan(const DepthwiseConv2dGeometry& g) : SmallPlan(g) {
  const int kernel = narrow(g.kernel.h);
  strips_of_plane = ceil_div(width, 14);
  plane_step = strips_of_plane == 1 ? 4 : strips_of_plane == 2 ? 2 : 1;
  row_tiles = ceil_div(height, 8);
  const int unit = strips_of_plane == 1 ? 16 : strips_of_plane == 2 ? 4 : 8 / std::gcd(8, strips_of_plane);
  const int unit_groups = unit * strips_of_plane / 8;
  choose_chunks(unit, unit_groups * row_tiles, 4 * kBlocks);
  groups = ceil_div(planes_at_once, unit) * unit_groups;
  const int sums_bytes = kThreads / 32 * kernel * 128 * 4;
  shared_bytes = std::max((shares < chunks ? 4 : 2) * span_bytes, sums_bytes);
}

NarrowWeightPlan::NarrowWeightPlan(const DepthwiseConv2dGeometry& g) : SmallPlan(g) {
  apart = fits_in_8() ? 16 : 4;
  choose_chunks(4 * apart, kThreads / 32, 4 * kBlocks);
  chunks_bytes = (shares < chunks ? 4 : 2) * span_bytes;
}

bool small_applies(const DepthwiseConv2dGeometry& g, DType dtype) {
  if (g.channels == 0 || g.batch == 0) return false;
  if (dtype != DType::bf16 && dtype != DType::f16) return false;
  const std::int64_t k = g.kernel.h;
  if (k != 3 && k != 5 && k != 7) return false;
  if (g.kernel != Extent2d(k) || g.padding != Extent2d(k / 2) || g.stride != Extent2d(1) ||
      g.dilation != Extent2d(1))
    return false;
  if (g.batch > kMostImages || g.input.h > kMostPixels || g.input.w > kMostPixels) return false;
  return g.input == Extent2d(7) || (g.input.h * g.input.w <= kMostPixels && g.input.w % 2 == 0);
}

bool small_applies(const DepthwiseConv2dGeometry& g, const Tensor& a, const Tensor& b) {
  return small_applies(g, a.dtype()) && in_pairs(a, b);
}

bool narrow_applies(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& dy) {
  if (x.dtype() != DType::bf16 && x.dtype() != DType::f16) return false;
  if (g.stride != Extent2d(1) || g.dilation != Extent2d(1) || g.input != g.output || g.batch > kMostImages)
    return false;
  return g.input.w <= NarrowWeightPlan::kMostColumns && g.input.h <= NarrowWeightPlan::kMostRows &&
         in_pairs(x, dy);
}

}  // namespace replk::cuda
