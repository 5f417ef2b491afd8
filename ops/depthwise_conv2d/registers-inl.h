// What g++ has to be told about registers. Compiled once per instruction set, like plane_lanes-inl.h.
#if defined(REPLK_REGISTERS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef REPLK_REGISTERS_INL_H
#undef REPLK_REGISTERS_INL_H
#else
#define REPLK_REGISTERS_INL_H
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace replk::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A vector just loaded that several multiply-adds use: g++ would rather load it again for each of them, and
// one load per multiply-add keeps a kernel from the peak.
template <class V>
HWY_INLINE V in_register(V v) {
#if defined(__GNUC__) && defined(__x86_64__)
  asm("" : "+v"(v.raw));
#endif
  return v;
}

}  // namespace replk::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
