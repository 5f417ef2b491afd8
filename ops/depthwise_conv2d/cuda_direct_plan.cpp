#include "ops/depthwise_conv2d/cuda_direct_plan.h"

#include <algorithm>

#include "ops/depthwise_conv2d/cuda_types.h"

namespace replk::cuda {
namespace {

constexpr int kSharedGoal = 52 * 1024;   // four blocks to a multiprocessor of sm_90, three to one of sm_80
constexpr int kSharedMost = 156 * 1024;  // of a block, beside what it sums its weight gradient in

int ceil_div(int a, int b) { return (a + b - 1) / b; }
int round_up(int a, int b) { return ceil_div(a, b) * b; }
int narrow(std::int64_t a) { return static_cast<int>(a); }

}  // namespace

DirectPlan::DirectPlan(const DepthwiseConv2dGeometry& g, DepthwisePass pass, int element_bytes, bool pairs)
    : batch(narrow(g.batch)),
      planes(g.channels * g.batch),
      spread(pass == DepthwisePass::backward_input && g.stride.h == 2),
      stride(narrow(g.stride.h)),
      kernel(narrow(g.kernel.h)) {
  const bool turned = pass == DepthwisePass::backward_input;
  const Extent2d in = turned ? g.output : g.input, out = turned ? g.input : g.output;
  in_h = narrow(in.h), in_w = narrow(in.w), out_h = narrow(out.h), out_w = narrow(out.w);
  // 7 divides the sides of the usual maps, and lanes 7 words apart are in different banks.
  tile_rows = spread ? 14 : 7;
  tile_columns = spread || pairs ? 14 : 7;
  across = ceil_div(out_w, tile_columns);
  const int strips_of_plane = ceil_div(out_h, tile_rows), tiles_of_plane = across * strips_of_plane;
  if (tiles_of_plane <= kThreads) {
    strips = strips_of_plane;
    planes_at_once = kThreads / tiles_of_plane;
    if (pass == DepthwisePass::backward_weight) planes_at_once = std::min(planes_at_once, batch);
  } else {
    strips = std::clamp(kThreads / across, 1, strips_of_plane);
    planes_at_once = 1;
  }
  choose_block(element_bytes);
  parts = ceil_div(strips_of_plane, strips);
  threads = round_up(std::min(tiles(), kThreads), 32);
}

int DirectPlan::in_rows(int strips_read) const {
  const int rows = strips_read * tile_rows;
  return std::min(in_h, spread ? rows / 2 + kernel / 2 + 1 : (rows - 1) * stride + kernel);
}

// Smaller than what 128 threads take where memory would run short, or blocks that keep a large GPU busy.
void DirectPlan::choose_block(int element_bytes) {
  constexpr int kBlocks = 256;
  count_bytes(element_bytes);
  while (planes_at_once > 1 && (shared_bytes > kSharedGoal || planes / planes_at_once < kBlocks)) {
    planes_at_once = (planes_at_once + 1) / 2;
    count_bytes(element_bytes);
  }
  while (strips > 1 && shared_bytes > kSharedGoal) {
    strips = (strips + 1) / 2;
    count_bytes(element_bytes);
  }
}

void DirectPlan::count_bytes(int element_bytes) {
  // Of neighbouring elements that may begin anywhere within 16 bytes.
  const auto bytes = [&](int whole_planes, int plane_rows, int rows, int width) {
    return round_up((whole_planes * plane_rows + rows) * width * element_bytes, 16) + 16;
  };
  in_bytes = bytes(planes_at_once - 1, in_h, in_rows(strips), in_w);
  out_bytes = bytes(planes_at_once - 1, out_h, std::min(strips * tile_rows, out_h), out_w);
  // Weights of every channel that the planes belong to.
  const int channels = (planes_at_once + batch - 2) / batch + 1;
  shared_bytes = in_bytes + out_bytes + channels * kernel * kernel * 4;
}

bool direct_applies(const DepthwiseConv2dGeometry& g, DType dtype) {
  if (g.channels == 0 || g.batch == 0) return false;
  if (!is_f32_or_bf16(dtype)) return false;
  const std::int64_t k = g.kernel.h, s = g.stride.h;
  if ((k != 3 && k != 5 && k != 7) || (s != 1 && s != 2)) return false;
  if (g.kernel != Extent2d(k) || g.stride != Extent2d(s) || g.padding != Extent2d(k / 2) ||
      g.dilation != Extent2d(1))
    return false;
  constexpr std::int64_t kMost = 1 << 14, kMostImages = 1 << 24;  // keep places within a block in 32 bits
  if (g.batch > kMostImages || g.input.h > kMost || g.input.w > kMost) return false;
  using enum DepthwisePass;
  for (const DepthwisePass pass : {forward, backward_input, backward_weight})
    for (const bool pairs : {false, true})
      if (DirectPlan(g, pass, narrow(static_cast<std::int64_t>(size_of(dtype))), pairs).shared_bytes >
          kSharedMost)
        return false;
  return true;
}

}  // namespace replk::cuda
