// The packed f32 product of one block, once per instruction set.
//
// The innermost kernel keeps a tile of C in registers, kRows rows of kVectors vectors, and per step of the
// depth reads kVectors vectors of B and kRows single elements of A, each multiplied with all of the vectors:
// with 8 x 3 tiles that is 11 loads for 24 multiply-adds. To make its reads contiguous, B is first packed
// into panels of kVectors vectors of columns, each panel [depth][width]. A is read where it lies if its rows
// lie along the depth: its elements are read one by one anyway, and 8 rows are 8 streams. (So a weight has
// nothing to be packed for in the forward product.) A transposed A would touch a line of memory for every
// element, and is turned round first, a piece at a time: panels [depth][kRows] would be read one element
// after the other from the same line, which takes a tenth longer than from 8 streams (measured on a Xeon with
// AVX-512).
//
//     for each piece of the depth (at most kGemmDepth)
//       turn A round, if transposed
//       for each group of panels of B                the group fits the second-level cache
//         pack the group
//         for each panel of A                        stays in the first-level cache
//           for each panel of B of the group
//             tile                                   and fetch a little of what is packed next
//
// Packing reads memory that no cache holds yet. Because every tile asks for some lines of the next group
// ahead of time, that reading overlaps with the multiplications; without it a product with few rows loses a
// fifth of its speed.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/primitives/gemm_packed.cpp"

#include "ops/primitives/gemm_packed.h"

#include <algorithm>

#include "core/dry_run.h"
#include "core/tensor.h"
#include "ops/primitives/simd_targets.h"
// Highway compiles the rest of this file once per instruction set.
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/primitives/activation-inl.h"
#include "ops/primitives/simd_row-inl.h"

HWY_BEFORE_NAMESPACE();
namespace replk::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

constexpr hn::ScalableTag<float> kTag;
using Vector = hn::Vec<decltype(kTag)>;
constexpr std::int64_t kLanes = HWY_MAX_BYTES / sizeof(float);
constexpr std::int64_t kLine = 16;  // elements in a line of memory
// Accumulators, a row of B and a broadcast must fit into 32 registers (AVX-512), else 16.
constexpr std::int64_t kRows = kLanes >= 16 ? 8 : 4;
constexpr std::int64_t kVectors = 3;
constexpr std::int64_t kRowsAhead = 8;              // fetched by the packing of B itself
constexpr int kSecondLevel = 2;                     // cache to fetch into, for __builtin_prefetch
constexpr std::int64_t kGroupElements = 24 * 1024;  // of B packed together: measured best of 12 to 96 k

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
constexpr std::int64_t round_up(std::int64_t a, std::int64_t b) { return ceil_div(a, b) * b; }

// Rows of A as a tile reads them: element (i, l) is data[i * row + l * depth].
struct Rows {
  const float* data;
  std::int64_t row, depth;
};

// Lines of memory that a tile fetches, one a step: kLine of them `inner` apart, then from `outer` further on.
struct Ahead {
  const float* next;
  std::int64_t inner, outer;
};

// One tile: c (height x vectors) = or += a b, with b [depth][vectors] packed.
template <int height, int vectors>
HWY_NOINLINE void tile(std::int64_t depth, Rows a, const float* HWY_RESTRICT b, float* HWY_RESTRICT c,
                       std::int64_t stride, bool accumulate, Ahead ahead) {
  Vector sum[height][vectors];
#pragma GCC unroll 8
  for (int i = 0; i < height; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sum[i][v] = hn::Zero(kTag);
#pragma GCC unroll 8
  for (int i = 0; i < height; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) __builtin_prefetch(c + i * stride + v * kLanes, 1);
  // Three pointers reach eight rows with the multiples 0, 1 and 2 that an address can add.
  const float* rows[3] = {a.data, a.data + 3 * a.row, a.data + 6 * a.row};
  for (std::int64_t begin = 0; begin < depth; begin += kLine, ahead.next += ahead.outer) {
    const float* next = ahead.next;
    const std::int64_t end = HWY_MIN(begin + kLine, depth);
    for (std::int64_t l = begin; l < end; ++l) {
      __builtin_prefetch(next, 0, kSecondLevel);
      next += ahead.inner;
      Vector row[vectors];
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) row[v] = hn::Load(kTag, b + v * kLanes);
#pragma GCC unroll 8
      for (int i = 0; i < height; ++i) {
        const Vector factor = hn::Set(kTag, rows[i / 3][i % 3 * a.row]);
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) sum[i][v] = hn::MulAdd(factor, row[v], sum[i][v]);
      }
      for (const float*& row_of_a : rows) row_of_a += a.depth;
      b += vectors * kLanes;
    }
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

using Tile = void (*)(std::int64_t, Rows, const float*, float*, std::int64_t, bool, Ahead);
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

// Four rows of four elements, transposed: to[l * stride + i] = from[i * from_stride + l].
HWY_INLINE void transpose_4x4(const float* from, std::int64_t from_stride, float* HWY_RESTRICT to,
                              std::int64_t stride) {
  constexpr hn::FixedTag<float, 4> d;
  constexpr hn::FixedTag<double, 2> pairs;
  const auto row0 = hn::LoadU(d, from), row1 = hn::LoadU(d, from + from_stride);
  const auto row2 = hn::LoadU(d, from + 2 * from_stride), row3 = hn::LoadU(d, from + 3 * from_stride);
  const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, row0, row1));
  const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, row2, row3));
  const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, row0, row1));
  const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, row2, row3));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23)), d, to);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23)), d, to + stride);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, high01, high23)), d, to + 2 * stride);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, high01, high23)), d, to + 3 * stride);
}

// [depth][width] from rows of a matrix that lie along the depth: a transposition. Goes a line of memory along
// all rows before the next, so that both the lines read and those written are used up while at hand.
void pack_columns(std::int64_t depth, std::int64_t width, std::int64_t padded, const float* from,
                  std::int64_t stride, float* HWY_RESTRICT to) {
  for (std::int64_t begin = 0; begin < depth; begin += kLine) {
    const std::int64_t end = HWY_MIN(begin + kLine, depth);
    std::int64_t i = 0;
    for (; i + 4 <= width; i += 4) {
      std::int64_t l = begin;
      for (; l + 4 <= end; l += 4) transpose_4x4(from + i * stride + l, stride, to + l * padded + i, padded);
      for (; l < end; ++l)
        for (std::int64_t r = i; r < i + 4; ++r) to[l * padded + r] = from[r * stride + l];
    }
    for (; i < padded; ++i)
      for (std::int64_t l = begin; l < end; ++l) to[l * padded + i] = i < width ? from[i * stride + l] : 0;
  }
}

// A piece of the depth, and how the columns are divided into panels: as equal as possible, in whole vectors.
struct Piece {
  std::int64_t begin, depth;
  std::int64_t vectors, panels;
  std::int64_t group;  // panels packed together

  explicit Piece(const GemmBlock& g)
      : begin(0),
        depth(round_up(ceil_div(g.depth, ceil_div(g.depth, kGemmDepth)), 4)),
        vectors(ceil_div(g.columns, kLanes)),
        panels(ceil_div(vectors, kVectors)),
        group(HWY_MAX(kGroupElements / (kVectors * kLanes * depth), 1)) {}
  // First column of panel p.
  std::int64_t start(std::int64_t p) const { return vectors * p / panels * kLanes; }
};

// True when the `height` rows of a panel of A are read where they lie. There are tiles of 4 and of kRows
// rows.
bool reads_in_place(const GemmBlock& g, std::int64_t height) { return !g.a.transposed && height % 4 == 0; }

// What cannot be read in place: the last rows, or all of a transposed A.
void pack_a(const GemmBlock& g, const Piece& piece, float* to) {
  if (g.a.transposed) {
    pack_columns(g.rows, piece.depth, piece.depth, g.a.data + piece.begin * g.a.stride, g.a.stride, to);
    std::fill(to + g.rows * piece.depth, to + round_up(g.rows, 4) * piece.depth, 0.0f);
    return;
  }
  const std::int64_t width = g.rows % kRows, i = g.rows - width;
  if (!reads_in_place(g, width))
    pack_columns(piece.depth, width, round_up(width, 4), g.a.data + i * g.a.stride + piece.begin, g.a.stride,
                 to);
}

// The rows of A from i on, of which `packed` are those that pack_a packed.
Rows panel_of_a(const GemmBlock& g, const Piece& piece, const float* packed, std::int64_t i,
                std::int64_t height) {
  if (reads_in_place(g, height)) return {g.a.data + i * g.a.stride + piece.begin, g.a.stride, 1};
  if (g.a.transposed) return {packed + i * piece.depth, piece.depth, 1};
  return {packed, 1, round_up(height, 4)};
}

// Panel p of B.
void pack_b(const GemmBlock& g, const Piece& piece, std::int64_t p, float* to) {
  const std::int64_t j = piece.start(p), padded = piece.start(p + 1) - j,
                     width = HWY_MIN(padded, g.columns - j);
  if (g.b.transposed)
    return pack_columns(piece.depth, width, padded, g.b.data + j * g.b.stride + piece.begin, g.b.stride, to);
  const float* from = g.b.data + piece.begin * g.b.stride + j;
  for (std::int64_t l = 0; l < piece.depth; ++l, from += g.b.stride) {
    const float* later = from + HWY_MIN(kRowsAhead, piece.depth - 1 - l) * g.b.stride;
    for (std::int64_t i = 0; i < width; i += kLine) __builtin_prefetch(later + i, 0, kSecondLevel);
    copy_padded(from, width, padded, to + l * padded);
  }
}

// A line's width of rows (or columns) of an operand from `offset` on, over the depth of a piece.
Ahead strip(const Matrix<const float>& x, bool along_depth, std::int64_t begin, std::int64_t offset) {
  if (along_depth) return {x.data + offset * x.stride + begin, x.stride, kLine};
  return {x.data + begin * x.stride + offset, x.stride, kLine * x.stride};
}

// What the tile number `index` of the group that ends before panel `last` fetches: a strip of what is packed
// next.
Ahead ahead_of(const GemmBlock& g, const Piece& piece, std::int64_t last, std::int64_t index) {
  const Ahead nothing{g.b.data, 0, 0};
  const bool next_piece = last == piece.panels;
  const std::int64_t begin = next_piece ? piece.begin + piece.depth : piece.begin;
  if (begin >= g.depth) return nothing;
  const std::int64_t first = next_piece ? 0 : last, end = HWY_MIN(first + piece.group, piece.panels);
  const std::int64_t j = piece.start(first);
  const std::int64_t strips_b =
      (piece.start(end) - j) / kLine + 1;  // one more where rows start inside a line
  if (index < strips_b) return strip(g.b, g.b.transposed, begin, j + kLine * index);
  const std::int64_t i = kLine * (index - strips_b);
  if (next_piece && i < g.rows) return strip(g.a, !g.a.transposed, begin, i);
  return nothing;
}

// A tile at the edge of C is computed whole into a buffer, of which the part inside is copied.
void edge_tile(Tile kernel, std::int64_t depth, Rows a, const float* b, float* c, std::int64_t stride,
               std::int64_t height, std::int64_t width, bool accumulate, Ahead ahead) {
  HWY_ALIGN float buffer[kRows * kVectors * kLanes];
  kernel(depth, a, b, buffer, kVectors * kLanes, false, ahead);
  for (std::int64_t i = 0; i < height; ++i)
    for (std::int64_t j = 0; j < width; ++j) {
      const float value = buffer[i * kVectors * kLanes + j];
      c[i * stride + j] = accumulate ? c[i * stride + j] + value : value;
    }
}

// C = activation(C + bias).
template <class T>
void finish(std::int64_t rows, std::int64_t columns, Matrix<T> c, const GemmEpilogue<T>& epilogue) {
  const hn::ScalableTag<T> d;
  visit_activation(epilogue.activation, [&]<class F>(F) {
    for (std::int64_t i = 0; i < rows; ++i) {
      T* row = c.data + i * c.stride;
      const auto bias = hn::Set(d, epilogue.bias ? epilogue.bias[i] : T{0});
      for_each_vector(d, columns, [&](std::int64_t j, std::int64_t count) HWY_ATTR {
        store_up_to(d, F::value(d, hn::Add(load_up_to(d, row + j, count), bias)), row + j, count);
      });
    }
  });
}

// The panels [first, last) of B, packed in b, with all of A.
void multiply(const GemmBlock& g, const Piece& piece, std::int64_t first, std::int64_t last,
              const float* packed_a, const float* b) {
  const bool accumulate = g.accumulate || piece.begin > 0;
  const bool finishes = !g.epilogue.empty() && piece.begin + piece.depth == g.depth;
  std::int64_t index = 0;
  for (std::int64_t i = 0; i < g.rows; i += kRows) {
    const std::int64_t height = HWY_MIN(kRows, g.rows - i);
    const Rows a = panel_of_a(g, piece, packed_a, i, height);
    for (std::int64_t p = first; p < last; ++p) {
      const std::int64_t j = piece.start(p), padded = piece.start(p + 1) - j,
                         width = HWY_MIN(padded, g.columns - j);
      const Tile kernel = kTiles[height > 4][padded / kLanes - 1];
      const float* panel = b + (j - piece.start(first)) * piece.depth;
      float* to = g.c.data + i * g.c.stride + j;
      const Ahead ahead = ahead_of(g, piece, last, index++);
      if (height % 4 == 0 && width == padded)
        kernel(piece.depth, a, panel, to, g.c.stride, accumulate, ahead);
      else
        edge_tile(kernel, piece.depth, a, panel, to, g.c.stride, height, width, accumulate, ahead);
      if (finishes)
        finish<float>(height, width, {to, g.c.stride},
                      {g.epilogue.bias ? g.epilogue.bias + i : nullptr, g.epilogue.activation});
    }
  }
}

void run_block(const GemmBlock& g) {
  thread_local Tensor scratch;
  Piece piece(g);
  const std::int64_t a_elements =
      round_up((g.a.transposed ? round_up(g.rows, kRows) : kRows) * piece.depth, kLine);
  const std::int64_t elements =
      a_elements + HWY_MIN(piece.group, piece.panels) * kVectors * kLanes * piece.depth;
  if (DryRun* dry = DryRun::current())
    return dry->keep_on_threads(static_cast<std::size_t>(elements) * sizeof(float));
  if (!scratch.defined() || scratch.numel() < elements) scratch = Tensor::empty({elements});
  float *a = scratch.data<float>(), *b = a + a_elements;
  for (; piece.begin < g.depth; piece.begin += piece.depth) {
    piece.depth = HWY_MIN(piece.depth, g.depth - piece.begin);
    pack_a(g, piece, a);
    for (std::int64_t first = 0; first < piece.panels; first += piece.group) {
      const std::int64_t last = HWY_MIN(first + piece.group, piece.panels);
      for (std::int64_t p = first; p < last; ++p)
        pack_b(g, piece, p, b + (piece.start(p) - piece.start(first)) * piece.depth);
      multiply(g, piece, first, last, a, b);
    }
  }
}

void finish_f32(std::int64_t rows, std::int64_t columns, Matrix<float> c, GemmEpilogue<float> epilogue) {
  finish(rows, columns, c, epilogue);
}

void finish_f64(std::int64_t rows, std::int64_t columns, Matrix<double> c, GemmEpilogue<double> epilogue) {
  finish(rows, columns, c, epilogue);
}

}  // namespace
}  // namespace replk::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace replk::cpu {
HWY_EXPORT(run_block);
HWY_EXPORT(finish_f32);
HWY_EXPORT(finish_f64);

void gemm_packed_block(const GemmBlock& block) { HWY_DYNAMIC_DISPATCH(run_block)(block); }

void gemm_finish(std::int64_t rows, std::int64_t columns, Matrix<float> c, GemmEpilogue<float> epilogue) {
  HWY_DYNAMIC_DISPATCH(finish_f32)(rows, columns, c, epilogue);
}

void gemm_finish(std::int64_t rows, std::int64_t columns, Matrix<double> c, GemmEpilogue<double> epilogue) {
  HWY_DYNAMIC_DISPATCH(finish_f64)(rows, columns, c, epilogue);
}
}  // namespace replk::cpu
#endif  // HWY_ONCE
