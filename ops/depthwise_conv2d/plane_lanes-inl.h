// Between planes in memory and vectors that hold the same pixel of several planes, one plane per lane.
// Compiled once per instruction set: include after <hwy/highway.h> in a file that foreach_target.h compiles
// again.
#if defined(REPLK_PLANE_LANES_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef REPLK_PLANE_LANES_INL_H
#undef REPLK_PLANE_LANES_INL_H
#else
#define REPLK_PLANE_LANES_INL_H
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "ops/depthwise_conv2d/registers-inl.h"

HWY_BEFORE_NAMESPACE();
namespace replk::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Loads one 128-bit block from each of several planes: block b of the vector comes from planes[b * step] +
// at.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE hn::Vec<D> load_blocks(D d, const T* const* planes, std::int64_t step, std::int64_t at) {
  if constexpr (hn::MaxLanes(D()) * sizeof(T) == 16) {
    return hn::LoadU(d, planes[0] + at);
  } else {
    const hn::Half<D> half;
    constexpr std::int64_t kBlocks = hn::MaxLanes(D()) * sizeof(T) / 16;
    return hn::Combine(d, load_blocks(half, planes + kBlocks / 2 * step, step, at),
                       load_blocks(half, planes, step, at));
  }
}

// Stores the blocks of a vector back; a null plane takes none.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE void store_blocks(D d, hn::Vec<D> v, T* const* planes, std::int64_t step, std::int64_t at,
                             bool accumulate) {
  if constexpr (hn::MaxLanes(D()) * sizeof(T) == 16) {
    if (!planes[0]) return;
    if (accumulate) v = hn::Add(v, hn::LoadU(d, planes[0] + at));
    hn::StoreU(v, d, planes[0] + at);
  } else {
    const hn::Half<D> half;
    constexpr std::int64_t kBlocks = hn::MaxLanes(D()) * sizeof(T) / 16;
    store_blocks(half, hn::LowerHalf(half, v), planes, step, at, accumulate);
    store_blocks(half, hn::UpperHalf(half, v), planes + kBlocks / 2 * step, step, at, accumulate);
  }
}

// Transposes the square of elements that lie in the same 128-bit block of as many vectors.
template <class D>
HWY_INLINE void transpose_blocks(D d, hn::Vec<D>* v) {
  if constexpr (sizeof(hn::TFromD<D>) == 8) {
    const auto low = hn::InterleaveLower(d, v[0], v[1]), high = hn::InterleaveUpper(d, v[0], v[1]);
    v[0] = low, v[1] = high;
  } else {
    const auto a = hn::InterleaveLower(d, v[0], v[2]), b = hn::InterleaveLower(d, v[1], v[3]);
    const auto e = hn::InterleaveUpper(d, v[0], v[2]), f = hn::InterleaveUpper(d, v[1], v[3]);
    v[0] = hn::InterleaveLower(d, a, b), v[1] = hn::InterleaveUpper(d, a, b);
    v[2] = hn::InterleaveLower(d, e, f), v[3] = hn::InterleaveUpper(d, e, f);
  }
}

// Transposes the square of 128-bit blocks of as many vectors as a vector has blocks: v[i * step], i = 0, 1,
// ...
template <class D>
HWY_INLINE void transpose_squares(D d, hn::Vec<D>* v, int step) {
  constexpr std::size_t kBlocks = hn::MaxLanes(D()) * sizeof(hn::TFromD<D>) / 16;
  if constexpr (kBlocks == 2) {
    const auto a = v[0], b = v[step];
    v[0] = hn::ConcatLowerLower(d, b, a), v[step] = hn::ConcatUpperUpper(d, b, a);
  } else if constexpr (kBlocks == 4) {
    // Or g++ computes each of these twice, the second time under the mask of OddEvenBlocks.
    const auto even_low = in_register(hn::ConcatLowerLower(d, v[2 * step], v[0])),
               even_high = in_register(hn::ConcatUpperUpper(d, v[2 * step], v[0]));
    const auto odd_low = in_register(hn::ConcatLowerLower(d, v[3 * step], v[step])),
               odd_high = in_register(hn::ConcatUpperUpper(d, v[3 * step], v[step]));
    v[0] = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(odd_low), even_low);
    v[step] = hn::OddEvenBlocks(odd_low, hn::SwapAdjacentBlocks(even_low));
    v[2 * step] = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(odd_high), even_high);
    v[3 * step] = hn::OddEvenBlocks(odd_high, hn::SwapAdjacentBlocks(even_high));
  }
}

// Transposes as many vectors as a vector has lanes.
template <class D>
HWY_INLINE void transpose(D d, hn::Vec<D>* v) {
  constexpr int kLanes = hn::MaxLanes(D()), kBlock = 16 / sizeof(hn::TFromD<D>);
#pragma GCC unroll 4
  for (int i = 0; i < kLanes; i += kBlock) transpose_blocks(d, v + i);
#pragma GCC unroll 4
  for (int i = 0; i < kBlock; ++i) transpose_squares(d, v + i, kBlock);
}

// out[to[i] + lane] = planes[lane][i] for every pixel i; `planes` has one pointer per lane, none null. Whole
// squares of pixels and planes first, then blocks of 4 (f32), of which the last may overlap.
template <class D, class T = hn::TFromD<D>>
void planes_to_lanes(D d, const T* const* planes, std::int64_t pixels, const std::int64_t* to, T* out) {
  constexpr std::int64_t kLanes = hn::MaxLanes(D()), kBlock = 16 / sizeof(T);
  std::int64_t i = 0;
  for (; i + kLanes <= pixels; i += kLanes) {
    hn::Vec<D> v[kLanes];
#pragma GCC unroll 16
    for (std::int64_t k = 0; k < kLanes; ++k) v[k] = hn::LoadU(d, planes[k] + i);
    transpose(d, v);
#pragma GCC unroll 16
    for (std::int64_t k = 0; k < kLanes; ++k) hn::Store(v[k], d, out + to[i + k]);
  }
  for (; i < pixels && pixels >= kBlock; i += kBlock) {
    const std::int64_t at = std::min(i, pixels - kBlock);
    hn::Vec<D> v[kBlock];
    for (std::int64_t k = 0; k < kBlock; ++k) v[k] = load_blocks(d, planes + k, kBlock, at);
    transpose_blocks(d, v);
    for (std::int64_t k = 0; k < kBlock; ++k) hn::Store(v[k], d, out + to[at + k]);
  }
  for (; i < pixels; ++i)
    for (std::int64_t lane = 0; lane < kLanes; ++lane) out[to[i] + lane] = planes[lane][i];
}

// planes[lane][i] = in[from[i] + lane], or += with accumulate; planes may be null from some lane on: they go
// nowhere.
template <class D, class T = hn::TFromD<D>>
void lanes_to_planes(D d, const T* in, const std::int64_t* from, T* const* planes, std::int64_t pixels,
                     bool accumulate) {
  constexpr std::int64_t kLanes = hn::MaxLanes(D()), kBlock = 16 / sizeof(T);
  std::int64_t i = 0;
  for (const bool all = planes[kLanes - 1] != nullptr; all && i + kLanes <= pixels; i += kLanes) {
    hn::Vec<D> v[kLanes];
#pragma GCC unroll 16
    for (std::int64_t k = 0; k < kLanes; ++k) v[k] = hn::Load(d, in + from[i + k]);
    transpose(d, v);
#pragma GCC unroll 16
    for (std::int64_t k = 0; k < kLanes; ++k) {
      T* to = planes[k] + i;
      hn::StoreU(accumulate ? hn::Add(v[k], hn::LoadU(d, to)) : v[k], d, to);
    }
  }
  // The last block may overlap the one before, but must not add to the same pixels twice.
  for (; i + kBlock <= pixels || (i < pixels && pixels >= kBlock && !accumulate); i += kBlock) {
    const std::int64_t at = std::min(i, pixels - kBlock);
    hn::Vec<D> v[kBlock];
    for (std::int64_t k = 0; k < kBlock; ++k) v[k] = hn::Load(d, in + from[at + k]);
    transpose_blocks(d, v);
    for (std::int64_t k = 0; k < kBlock; ++k) store_blocks(d, v[k], planes + k, kBlock, at, accumulate);
  }
  for (; i < pixels; ++i)
    for (std::int64_t lane = 0; lane < kLanes; ++lane)
      if (planes[lane]) planes[lane][i] = in[from[i] + lane] + (accumulate ? planes[lane][i] : T(0));
}

}  // namespace replk::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
