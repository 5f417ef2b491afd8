// The packed f32 product of one block, once per instruction set.
//
// The innermost kernel keeps a tile of C in registers, kRows rows of kVectors vectors, and per step reads
// kVectors vectors of B and kRows single elements of A (each multiplied with all of the vectors): with 8 x 3
// tiles that is 11 loads for 24 multiply-adds. To make these reads contiguous, A is first packed into panels
// of kRows rows, B into panels of kVectors vectors of columns, each panel [depth][width]. A panel of A stays
// in the first-level cache while the panels of B stream past it from the second.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/primitives/gemm_packed.cpp"

#include <algorithm>
#include <cstring>

#include "core/tensor.h"
#include "ops/primitives/gemm_packed.h"
#include "ops/primitives/simd_targets.h"
// Highway compiles the rest of this file once per instruction set.
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace replk::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

constexpr hn::ScalableTag<float> kTag;
using Vector = hn::Vec<decltype(kTag)>;
constexpr std::int64_t kLanes = HWY_MAX_BYTES / sizeof(float);
// Accumulators, a row of B and a broadcast must fit into 32 registers (AVX-512), else 16.
constexpr std::int64_t kRows = kLanes >= 16 ? 8 : 4;
constexpr std::int64_t kVectors = 3;

constexpr std::int64_t round_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b * b; }

// One tile: c (height x vectors) = or += a b, with a [depth][height] and b [depth][vectors] packed.
template <int height, int vectors>
HWY_NOINLINE void tile(std::int64_t depth, const float* HWY_RESTRICT a, const float* HWY_RESTRICT b,
                       float* HWY_RESTRICT c, std::int64_t stride, bool accumulate) {
  Vector sum[height][vectors];
#pragma GCC unroll 8
  for (int i = 0; i < height; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sum[i][v] = hn::Zero(kTag);
  for (std::int64_t l = 0; l < depth; ++l) {
    Vector row[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) row[v] = hn::Load(kTag, b + v * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < height; ++i) {
      const Vector factor = hn::Set(kTag, a[i]);
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sum[i][v] = hn::MulAdd(factor, row[v], sum[i][v]);
    }
    a += height;
    b += vectors * kLanes;
  }
#pragma GCC unroll 8
  for (int i = 0; i < height; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      float* to = c + i * stride + v * kLanes;
      if (accumulate) sum[i][v] = hn::Add(sum[i][v], hn::LoadU(kTag, to));
      hn::StoreU(sum[i][v], kTag, to);
    }
}

using Tile = void (*)(std::int64_t, const float*, const float*, float*, std::int64_t, bool);
constexpr Tile kTiles[2][kVectors] = {{tile<4, 1>, tile<4, 2>, tile<4, 3>},
                                      {tile<kRows, 1>, tile<kRows, 2>, tile<kRows, 3>}};

// `width` elements, then zeros up to `padded`.
HWY_INLINE void copy_padded(const float* HWY_RESTRICT from, std::int64_t width, std::int64_t padded,
                            float* HWY_RESTRICT to) {
  constexpr hn::FixedTag<float, 4> d;
  std::int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes) hn::StoreU(hn::LoadU(kTag, from + i), kTag, to + i);
  for (; i + 4 <= width; i += 4) hn::StoreU(hn::LoadU(d, from + i), d, to + i);
  for (; i < width; ++i) to[i] = from[i];
  for (; i < padded; ++i) to[i] = 0;
}

// [depth][width] from rows of a matrix that lie along the depth: a transposition, 4 x 4 elements at a time.
void pack_columns(std::int64_t depth, std::int64_t width, std::int64_t padded, const float* from,
                  std::int64_t stride, float* HWY_RESTRICT to) {
  constexpr hn::FixedTag<float, 4> d;
  constexpr hn::FixedTag<double, 2> pairs;
  std::int64_t i = 0;
  for (; i + 4 <= width; i += 4) {
    const float *r0 = from + i * stride, *r1 = r0 + stride, *r2 = r1 + stride, *r3 = r2 + stride;
    std::int64_t l = 0;
    for (; l + 4 <= depth; l += 4) {
      const auto x0 = hn::LoadU(d, r0 + l), x1 = hn::LoadU(d, r1 + l);
      const auto x2 = hn::LoadU(d, r2 + l), x3 = hn::LoadU(d, r3 + l);
      const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, x0, x1));
      const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, x2, x3));
      const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, x0, x1));
      const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, x2, x3));
      float* place = to + l * padded + i;
      hn::Store(hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23)), d, place);
      hn::Store(hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23)), d, place + padded);
      hn::Store(hn::BitCast(d, hn::InterleaveLower(pairs, high01, high23)), d, place + 2 * padded);
      hn::Store(hn::BitCast(d, hn::InterleaveUpper(pairs, high01, high23)), d, place + 3 * padded);
    }
    for (; l < depth; ++l) {
      float* place = to + l * padded + i;
      place[0] = r0[l], place[1] = r1[l], place[2] = r2[l], place[3] = r3[l];
    }
  }
  for (; i < padded; ++i)
    for (std::int64_t l = 0; l < depth; ++l) to[l * padded + i] = i < width ? from[i * stride + l] : 0;
}

// Panel p of B covers vectors [first(p), first(p + 1)): as equal as possible, none wider than kVectors.
struct Panels {
  std::int64_t vectors, count;
  explicit Panels(std::int64_t columns)
      : vectors((columns + kLanes - 1) / kLanes), count((vectors + kVectors - 1) / kVectors) {}
  std::int64_t first(std::int64_t p) const { return vectors * p / count; }
};

void pack_a(const GemmBlock& g, std::int64_t begin, std::int64_t depth, float* to) {
  for (std::int64_t i = 0; i < g.rows; i += kRows, to += kRows * depth) {
    const std::int64_t width = HWY_MIN(kRows, g.rows - i), padded = round_up(width, 4);
    if (!g.a.transposed) {
      pack_columns(depth, width, padded, g.a.data + i * g.a.stride + begin, g.a.stride, to);
    } else {
      for (std::int64_t l = 0; l < depth; ++l)
        copy_padded(g.a.data + (begin + l) * g.a.stride + i, width, padded, to + l * padded);
    }
  }
}

void pack_b(const GemmBlock& g, std::int64_t begin, std::int64_t depth, const Panels& panels, float* to) {
  const auto for_panels = [&](const auto& f) {
    for (std::int64_t p = 0; p < panels.count; ++p) {
      const std::int64_t j = panels.first(p) * kLanes, padded = panels.first(p + 1) * kLanes - j;
      f(j, HWY_MIN(padded, g.columns - j), padded, to + j * depth);
    }
  };
  if (g.b.transposed)
    for_panels([&](auto j, auto width, auto padded, float* panel) {
      pack_columns(depth, width, padded, g.b.data + j * g.b.stride + begin, g.b.stride, panel);
    });
  else
    for (std::int64_t l = 0; l < depth; ++l)
      for_panels([&](auto j, auto width, auto padded, float* panel) HWY_ATTR {
        copy_padded(g.b.data + (begin + l) * g.b.stride + j, width, padded, panel + l * padded);
      });
}

// A tile at the edge of C is computed whole into a buffer, of which the part inside is copied.
void edge_tile(Tile kernel, std::int64_t depth, const float* a, const float* b, float* c, std::int64_t stride,
               std::int64_t height, std::int64_t width, bool accumulate) {
  HWY_ALIGN float buffer[kRows * kVectors * kLanes];
  kernel(depth, a, b, buffer, kVectors * kLanes, false);
  for (std::int64_t i = 0; i < height; ++i)
    for (std::int64_t j = 0; j < width; ++j) {
      const float value = buffer[i * kVectors * kLanes + j];
      c[i * stride + j] = accumulate ? c[i * stride + j] + value : value;
    }
}

void multiply(const GemmBlock& g, std::int64_t depth, const Panels& panels, const float* a, const float* b,
              bool accumulate) {
  for (std::int64_t i = 0; i < g.rows; i += kRows) {
    const std::int64_t height = HWY_MIN(kRows, g.rows - i);
    for (std::int64_t p = 0; p < panels.count; ++p) {
      const std::int64_t vectors = panels.first(p + 1) - panels.first(p), j = panels.first(p) * kLanes;
      const std::int64_t width = HWY_MIN(vectors * kLanes, g.columns - j);
      const Tile kernel = kTiles[height > 4][vectors - 1];
      float* to = g.c.data + i * g.c.stride + j;
      if (height % 4 == 0 && width == vectors * kLanes)
        kernel(depth, a + i * depth, b + j * depth, to, g.c.stride, accumulate);
      else
        edge_tile(kernel, depth, a + i * depth, b + j * depth, to, g.c.stride, height, width, accumulate);
    }
  }
}

void run_block(const GemmBlock& g) {
  thread_local Tensor scratch;
  const Panels panels(g.columns);
  const std::int64_t pieces = (g.depth + kGemmDepth - 1) / kGemmDepth;
  const std::int64_t piece = round_up((g.depth + pieces - 1) / pieces, 4);
  const std::int64_t a_elements = round_up(round_up(g.rows, kRows) * piece, 16);
  const std::int64_t elements = a_elements + panels.vectors * kLanes * piece;
  if (!scratch.defined() || scratch.numel() < elements) scratch = Tensor::empty({elements});
  float *a = scratch.data<float>(), *b = a + a_elements;
  for (std::int64_t begin = 0; begin < g.depth; begin += piece) {
    const std::int64_t depth = HWY_MIN(piece, g.depth - begin);
    pack_a(g, begin, depth, a);
    pack_b(g, begin, depth, panels, b);
    multiply(g, depth, panels, a, b, g.accumulate || begin > 0);
  }
}

}  // namespace
}  // namespace replk::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace replk::cpu {
HWY_EXPORT(run_block);
void gemm_packed_block(const GemmBlock& block) { HWY_DYNAMIC_DISPATCH(run_block)(block); }
}  // namespace replk::cpu
#endif  // HWY_ONCE
