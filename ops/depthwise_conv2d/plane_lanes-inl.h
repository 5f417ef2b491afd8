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

#include <cstdint>

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

// out[to[i] + lane] = planes[lane][i] for every pixel i; `planes` has one pointer per lane, none null.
template <class D, class T = hn::TFromD<D>>
void planes_to_lanes(D d, const T* const* planes, std::int64_t pixels, const std::int64_t* to, T* out) {
  constexpr std::int64_t kLanes = hn::MaxLanes(D());
  constexpr std::int64_t kBlock = 16 / sizeof(T);  // pixels of a plane that one transposition moves
  if (pixels < kBlock) {
    for (std::int64_t i = 0; i < pixels; ++i)
      for (std::int64_t lane = 0; lane < kLanes; ++lane) out[to[i] + lane] = planes[lane][i];
    return;
  }
  for (std::int64_t i = 0;; i += kBlock) {
    const std::int64_t at =
        i + kBlock <= pixels ? i : pixels - kBlock;  // the last block may overlap the one before
    hn::Vec<D> v[kBlock];
    for (std::int64_t k = 0; k < kBlock; ++k) v[k] = load_blocks(d, planes + k, kBlock, at);
    transpose_blocks(d, v);
    for (std::int64_t k = 0; k < kBlock; ++k) hn::Store(v[k], d, out + to[at + k]);
    if (at + kBlock >= pixels) return;
  }
}

// planes[lane][i] = in[from[i] + lane], or += with accumulate; lanes whose plane is null go nowhere.
template <class D, class T = hn::TFromD<D>>
void lanes_to_planes(D d, const T* in, const std::int64_t* from, T* const* planes, std::int64_t pixels,
                     bool accumulate) {
  constexpr std::int64_t kLanes = hn::MaxLanes(D());
  constexpr std::int64_t kBlock = 16 / sizeof(T);
  std::int64_t at = 0;
  for (; at + kBlock <= pixels; at += kBlock) {
    hn::Vec<D> v[kBlock];
    for (std::int64_t k = 0; k < kBlock; ++k) v[k] = hn::Load(d, in + from[at + k]);
    transpose_blocks(d, v);
    for (std::int64_t k = 0; k < kBlock; ++k) store_blocks(d, v[k], planes + k, kBlock, at, accumulate);
  }
  for (; at < pixels; ++at)
    for (std::int64_t lane = 0; lane < kLanes; ++lane)
      if (planes[lane]) planes[lane][at] = in[from[at] + lane] + (accumulate ? planes[lane][at] : T(0));
}

// The sum of `count` neighbouring lanes at an aligned vector's lane `first`.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE T sum_lanes(D d, const T* vector, std::int64_t first, std::int64_t count) {
  if (count == hn::MaxLanes(D())) return hn::GetLane(hn::SumOfLanes(d, hn::Load(d, vector)));
  T sum = 0;
  for (std::int64_t lane = first; lane < first + count; ++lane) sum += vector[lane];
  return sum;
}

}  // namespace replk::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
