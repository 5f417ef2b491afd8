// Loops over a contiguous row in vectors of Highway's current instruction set, the last one partly filled.
// Include after <hwy/highway.h>, in a file that is compiled once per instruction set.

#if defined(REPLK_SIMD_ROW_INL) == defined(HWY_TARGET_TOGGLE)  // once per instruction set
#ifdef REPLK_SIMD_ROW_INL
#undef REPLK_SIMD_ROW_INL
#else
#define REPLK_SIMD_ROW_INL
#endif

#include <algorithm>
#include <cstdint>

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace replk::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// Calls f(i, count) for i = 0, lanes, 2 lanes, ... below n: count is the vector's lanes, at the end what is
/// left.
template <class D, class F>
HWY_INLINE void for_each_vector(D d, std::int64_t n, const F& f) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) f(i, lanes);
  if (i < n) f(i, n - i);
}

/// `count` elements from p, the lanes above filled with `pad`.
template <class D>
HWY_INLINE hn::Vec<D> load_up_to(D d, const hn::TFromD<D>* p, std::int64_t count, hn::TFromD<D> pad = 0) {
  if (count == static_cast<std::int64_t>(hn::Lanes(d))) return hn::LoadU(d, p);
#if HWY_TARGET <= HWY_AVX2  // has loads and stores under a mask, which touch nothing beyond
  const auto first = hn::FirstN(d, static_cast<std::size_t>(count));
  return hn::IfThenElse(first, hn::MaskedLoad(first, d, p), hn::Set(d, pad));
#else
  HWY_ALIGN hn::TFromD<D> lanes[hn::MaxLanes(d)];
  std::fill(std::copy(p, p + count, lanes), lanes + hn::MaxLanes(d), pad);
  return hn::Load(d, lanes);
#endif
}

/// The first `count` lanes to p.
template <class D>
HWY_INLINE void store_up_to(D d, hn::Vec<D> v, hn::TFromD<D>* p, std::int64_t count) {
  if (count == static_cast<std::int64_t>(hn::Lanes(d))) return hn::StoreU(v, d, p);
#if HWY_TARGET <= HWY_AVX2
  hn::BlendedStore(v, hn::FirstN(d, static_cast<std::size_t>(count)), d, p);
#else
  HWY_ALIGN hn::TFromD<D> lanes[hn::MaxLanes(d)];
  hn::Store(v, d, lanes);
  std::copy(lanes, lanes + count, p);
#endif
}

}  // namespace replk::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
