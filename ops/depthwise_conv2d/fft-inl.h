// Discrete Fourier transforms of complex numbers whose real and imaginary parts are whole vectors: every lane
// is a transform of its own, so there is no shuffle anywhere.
//
// A length L = N1 N2 ... of coprime factors takes one pass per factor, in place and without twiddles (the
// prime-factor algorithm: Good 1958, Thomas 1963). Along n = (L/N1) n1 + (L/N2) n2 + ... (mod L) the
// transform of length L is one of length N1 along n1, one of length N2 along n2, ... The result for frequency
// k is left at the place (L/N1) (k mod N1) + (L/N2) (k mod N2) + ... (mod L). A convolution does not care:
// both factors are permuted alike, the inverse undoes it, and the place of -k is minus the place of k.
//
// Compiled once per instruction set: include after <hwy/highway.h> in a file that foreach_target.h compiles
// again.
#if defined(REPLK_FFT_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef REPLK_FFT_INL_H
#undef REPLK_FFT_INL_H
#else
#define REPLK_FFT_INL_H
#endif

#include <hwy/highway.h>

#include "ops/depthwise_conv2d/fft_length.h"

HWY_BEFORE_NAMESPACE();
namespace replk::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class V>
struct ComplexVector {
  V re, im;
};

// X[k] = sum over n of x[n] exp(-2 pi i n k / 4), in place.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void dft4(D, ComplexVector<V>& x0, ComplexVector<V>& x1, ComplexVector<V>& x2,
                     ComplexVector<V>& x3) {
  const V ar = hn::Add(x0.re, x2.re), ai = hn::Add(x0.im, x2.im), br = hn::Sub(x0.re, x2.re),
          bi = hn::Sub(x0.im, x2.im);
  const V cr = hn::Add(x1.re, x3.re), ci = hn::Add(x1.im, x3.im), dr = hn::Sub(x1.re, x3.re),
          di = hn::Sub(x1.im, x3.im);
  x0 = {hn::Add(ar, cr), hn::Add(ai, ci)};
  x1 = {hn::Add(br, di), hn::Sub(bi, dr)};
  x2 = {hn::Sub(ar, cr), hn::Sub(ai, ci)};
  x3 = {hn::Sub(br, di), hn::Add(bi, dr)};
}

// The transform of length kFactor of x, in place and in natural order.
template <int kFactor, class D, class V = hn::Vec<D>>
HWY_INLINE void dft(D d, ComplexVector<V>* HWY_RESTRICT x) {
  using T = hn::TFromD<D>;
  if constexpr (kFactor == 2) {
    const ComplexVector<V> a = x[0], b = x[1];
    x[0] = {hn::Add(a.re, b.re), hn::Add(a.im, b.im)};
    x[1] = {hn::Sub(a.re, b.re), hn::Sub(a.im, b.im)};
  } else if constexpr (kFactor == 4) {
    dft4(d, x[0], x[1], x[2], x[3]);
  } else if constexpr (kFactor == 8) {
    dft4(d, x[0], x[2], x[4], x[6]);
    dft4(d, x[1], x[3], x[5], x[7]);
    const V half_root = hn::Set(d, static_cast<T>(kHalfRoot));
    // Twiddles exp(-2 pi i k / 8): 1, (1-i)/sqrt 2, -i, (-1-i)/sqrt 2.
    const ComplexVector<V> o0 = x[1];
    const ComplexVector<V> o1 = {hn::Mul(half_root, hn::Add(x[3].re, x[3].im)),
                                 hn::Mul(half_root, hn::Sub(x[3].im, x[3].re))};
    const ComplexVector<V> o2 = {x[5].im, hn::Neg(x[5].re)};
    const ComplexVector<V> o3 = {hn::Mul(half_root, hn::Sub(x[7].im, x[7].re)),
                                 hn::Neg(hn::Mul(half_root, hn::Add(x[7].re, x[7].im)))};
    const ComplexVector<V> e[4] = {x[0], x[2], x[4], x[6]}, o[4] = {o0, o1, o2, o3};
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      x[k] = {hn::Add(e[k].re, o[k].re), hn::Add(e[k].im, o[k].im)};
      x[k + 4] = {hn::Sub(e[k].re, o[k].re), hn::Sub(e[k].im, o[k].im)};
    }
  } else {
    // Odd: with t_j = x_j + x_{-j} and s_j = x_j - x_{-j},  X_{+-k} = x_0 + sum t_j cos(2 pi jk/F) -+ i sum
    // s_j sin(2 pi jk/F).
    constexpr int kHalf = kFactor / 2;
    const ComplexVector<V> x0 = x[0];
    ComplexVector<V> t[kHalf], s[kHalf];
#pragma GCC unroll 8
    for (int j = 0; j < kHalf; ++j) {
      const ComplexVector<V> a = x[j + 1], b = x[kFactor - 1 - j];
      t[j] = {hn::Add(a.re, b.re), hn::Add(a.im, b.im)};
      s[j] = {hn::Sub(a.re, b.re), hn::Sub(a.im, b.im)};
      x[0] = {hn::Add(x[0].re, t[j].re), hn::Add(x[0].im, t[j].im)};
    }
#pragma GCC unroll 8
    for (int k = 1; k <= kHalf; ++k) {
      V even_re = x0.re, even_im = x0.im, odd_re = hn::Zero(d), odd_im = hn::Zero(d);
#pragma GCC unroll 8
      for (int j = 1; j <= kHalf; ++j) {
        const V cosine = hn::Set(d, static_cast<T>(kRoots<kFactor>.cosine[j * k % kFactor]));
        const V sine = hn::Set(d, static_cast<T>(kRoots<kFactor>.sine[j * k % kFactor]));
        even_re = hn::MulAdd(cosine, t[j - 1].re, even_re);
        even_im = hn::MulAdd(cosine, t[j - 1].im, even_im);
        odd_re = hn::MulAdd(sine, s[j - 1].re, odd_re);
        odd_im = hn::MulAdd(sine, s[j - 1].im, odd_im);
      }
      x[k] = {hn::Add(even_re, odd_im), hn::Sub(even_im, odd_re)};
      x[kFactor - k] = {hn::Sub(even_re, odd_im), hn::Add(even_im, odd_re)};
    }
  }
}

// All transforms along one factor of the length. Element i has its real part at z + 2 i lanes + re, its
// imaginary part at the other of the two vectors: exchanging them makes the transform an inverse one (without
// the factor 1 / L).
template <int kFactor, class D, class T = hn::TFromD<D>>
HWY_NOINLINE void fft_pass(D d, T* z, std::int64_t length, bool inverse) {
  constexpr std::int64_t kLanes = hn::MaxLanes(D());
  const std::int64_t re = inverse ? kLanes : 0, im = kLanes - re, step = length / kFactor;
  for (std::int64_t line = 0, begin = 0; line < step; ++line) {
    std::int64_t places[kFactor];
    ComplexVector<hn::Vec<D>> x[kFactor];
    std::int64_t place = begin;
#pragma GCC unroll 9
    for (int j = 0; j < kFactor; ++j) {
      places[j] = 2 * kLanes * place;
      x[j] = {hn::Load(d, z + places[j] + re), hn::Load(d, z + places[j] + im)};
      place += step;
      if (place >= length) place -= length;
    }
    dft<kFactor>(d, x);
#pragma GCC unroll 9
    for (int j = 0; j < kFactor; ++j) {
      hn::Store(x[j].re, d, z + places[j] + re);
      hn::Store(x[j].im, d, z + places[j] + im);
    }
    begin += kFactor;
    if (begin >= length) begin -= length;
  }
}

// The transform of `length.value` complex vectors at z, in place; the inverse is not scaled.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE void fft(D d, T* z, const FftLength& length, bool inverse) {
  for (const int factor : length.factors) switch (factor) {
      case 2:
        fft_pass<2>(d, z, length.value, inverse);
        break;
      case 3:
        fft_pass<3>(d, z, length.value, inverse);
        break;
      case 4:
        fft_pass<4>(d, z, length.value, inverse);
        break;
      case 5:
        fft_pass<5>(d, z, length.value, inverse);
        break;
      case 7:
        fft_pass<7>(d, z, length.value, inverse);
        break;
      case 8:
        fft_pass<8>(d, z, length.value, inverse);
        break;
      case 9:
        fft_pass<9>(d, z, length.value, inverse);
        break;
      default:
        break;
    }
}

}  // namespace replk::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
