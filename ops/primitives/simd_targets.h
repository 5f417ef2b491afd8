// Which instruction sets the Highway kernels are compiled for. Include before anything of <hwy/...>.
//
// On x86-64 the whole build assumes x86-64-v2 (2009 and later), so SSSE3 is the baseline; then one for 2013
// and later (AVX2 + FMA) and one with 512-bit vectors. The sets in between differ in nothing our kernels use,
// and each costs a compilation of every kernel.
#pragma once

#define HWY_DISABLED_TARGETS (HWY_SSE4 | HWY_AVX3_DL)
