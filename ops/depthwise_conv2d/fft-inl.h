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

#include <algorithm>

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

// The transform of length kFactor of x, in place: frequency k at place k (for 6 at 3 k + 2 k mod 6, as
// above).
template <int kFactor, class D, class V = hn::Vec<D>>
HWY_INLINE void dft([[maybe_unused]] D d, [[maybe_unused]] ComplexVector<V>* HWY_RESTRICT x) {
  using T = hn::TFromD<D>;
  if constexpr (kFactor == 1) {
    return;
  } else if constexpr (kFactor == 2) {
    const ComplexVector<V> a = x[0], b = x[1];
    x[0] = {hn::Add(a.re, b.re), hn::Add(a.im, b.im)};
    x[1] = {hn::Sub(a.re, b.re), hn::Sub(a.im, b.im)};
  } else if constexpr (kFactor == 3) {
    const V cosine = hn::Set(d, kRoots<T, 3>.cosine[1]), sine = hn::Set(d, kRoots<T, 3>.sine[1]);
    const ComplexVector<V> t = {hn::Add(x[1].re, x[2].re), hn::Add(x[1].im, x[2].im)};
    const ComplexVector<V> s = {hn::Sub(x[1].re, x[2].re), hn::Sub(x[1].im, x[2].im)};
    const V re = hn::MulAdd(cosine, t.re, x[0].re), im = hn::MulAdd(cosine, t.im, x[0].im);
    x[0] = {hn::Add(x[0].re, t.re), hn::Add(x[0].im, t.im)};
    x[1] = {hn::MulAdd(sine, s.im, re), hn::NegMulAdd(sine, s.re, im)};
    x[2] = {hn::NegMulAdd(sine, s.im, re), hn::MulAdd(sine, s.re, im)};
  } else if constexpr (kFactor == 4) {
    dft4(d, x[0], x[1], x[2], x[3]);
  } else if constexpr (kFactor == 6) {
    // 2 and 3 by the prime-factor algorithm, like whole lengths, and in the same order.
    ComplexVector<V> pairs[3][2] = {{x[0], x[3]}, {x[2], x[5]}, {x[4], x[1]}};
#pragma GCC unroll 3
    for (int i = 0; i < 3; ++i) dft<2>(d, pairs[i]);
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      ComplexVector<V> y[3] = {pairs[0][i], pairs[1][i], pairs[2][i]};
      dft<3>(d, y);
      x[3 * i] = y[0], x[(3 * i + 2) % 6] = y[1], x[(3 * i + 4) % 6] = y[2];
    }
  } else if constexpr (kFactor == 8) {
    dft4(d, x[0], x[2], x[4], x[6]);
    dft4(d, x[1], x[3], x[5], x[7]);
    // Twiddles exp(-2 pi i k / 8) of the odd ones: 1, (1-i)/sqrt 2, -i, (-1-i)/sqrt 2.
    const V half_root = hn::Set(d, static_cast<T>(kHalfRoot));
    const V sum1 = hn::Add(x[3].re, x[3].im), difference1 = hn::Sub(x[3].im, x[3].re);
    const V sum3 = hn::Add(x[7].re, x[7].im), difference3 = hn::Sub(x[7].im, x[7].re);
    const ComplexVector<V> e[4] = {x[0], x[2], x[4], x[6]}, o0 = x[1], o2 = x[5];
    x[0] = {hn::Add(e[0].re, o0.re), hn::Add(e[0].im, o0.im)};
    x[4] = {hn::Sub(e[0].re, o0.re), hn::Sub(e[0].im, o0.im)};
    x[1] = {hn::MulAdd(half_root, sum1, e[1].re), hn::MulAdd(half_root, difference1, e[1].im)};
    x[5] = {hn::NegMulAdd(half_root, sum1, e[1].re), hn::NegMulAdd(half_root, difference1, e[1].im)};
    x[2] = {hn::Add(e[2].re, o2.im), hn::Sub(e[2].im, o2.re)};
    x[6] = {hn::Sub(e[2].re, o2.im), hn::Add(e[2].im, o2.re)};
    x[3] = {hn::MulAdd(half_root, difference3, e[3].re), hn::NegMulAdd(half_root, sum3, e[3].im)};
    x[7] = {hn::NegMulAdd(half_root, difference3, e[3].re), hn::MulAdd(half_root, sum3, e[3].im)};
  } else if constexpr (kFactor == 9) {
    // 3 times 3, with twiddles exp(-2 pi i n k / 9).
    ComplexVector<V> y[3][3];
#pragma GCC unroll 3
    for (int n = 0; n < 3; ++n) {
#pragma GCC unroll 3
      for (int j = 0; j < 3; ++j) y[n][j] = x[n + 3 * j];
      dft<3>(d, y[n]);
#pragma GCC unroll 2
      for (int k = 1; k < 3; ++k) {
        if (n == 0) continue;
        const V cosine = hn::Set(d, kRoots<T, 9>.cosine[n * k]), sine = hn::Set(d, kRoots<T, 9>.sine[n * k]);
        const ComplexVector<V> z = y[n][k];
        y[n][k] = {hn::MulAdd(z.im, sine, hn::Mul(z.re, cosine)),
                   hn::NegMulAdd(z.re, sine, hn::Mul(z.im, cosine))};
      }
    }
#pragma GCC unroll 3
    for (int k = 0; k < 3; ++k) {
      ComplexVector<V> z[3] = {y[0][k], y[1][k], y[2][k]};
      dft<3>(d, z);
#pragma GCC unroll 3
      for (int j = 0; j < 3; ++j) x[k + 3 * j] = z[j];
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
      V even_re = x0.re, even_im = x0.im, odd_re, odd_im;
#pragma GCC unroll 8
      for (int j = 1; j <= kHalf; ++j) {
        // cos is even and sin odd, so kHalf of each do, and stay in registers.
        const int m = j * k % kFactor, root = std::min(m, kFactor - m);
        const V cosine = hn::Set(d, kRoots<T, kFactor>.cosine[root]);
        const V sine = hn::Set(d, kRoots<T, kFactor>.sine[root]);
        even_re = hn::MulAdd(cosine, t[j - 1].re, even_re);
        even_im = hn::MulAdd(cosine, t[j - 1].im, even_im);
        if (j == 1) {
          odd_re = hn::Mul(sine, s[0].re), odd_im = hn::Mul(sine, s[0].im);
        } else if (m == root) {
          odd_re = hn::MulAdd(sine, s[j - 1].re, odd_re);
          odd_im = hn::MulAdd(sine, s[j - 1].im, odd_im);
        } else {
          odd_re = hn::NegMulAdd(sine, s[j - 1].re, odd_re);
          odd_im = hn::NegMulAdd(sine, s[j - 1].im, odd_im);
        }
      }
      x[k] = {hn::Add(even_re, odd_im), hn::Sub(even_im, odd_re)};
      x[kFactor - k] = {hn::Sub(even_re, odd_im), hn::Add(even_im, odd_re)};
    }
  }
}

// What transforms read or write: of transform number t the real part of element i lies at z + t * next + its
// place, the imaginary part a vector further.
template <class T>
struct Elements {
  T* z;
  const FftPlaces& places;
  std::int64_t next = 0;
};

template <class D, class T = hn::TFromD<D>>
HWY_INLINE ComplexVector<hn::Vec<D>> load_element(D d, const T* z) {
  return {hn::Load(d, z), hn::Load(d, z + hn::MaxLanes(D()))};
}
template <class D, class T = hn::TFromD<D>>
HWY_INLINE void store_element(D d, ComplexVector<hn::Vec<D>> c, T* z) {
  hn::Store(c.re, d, z);
  hn::Store(c.im, d, z + hn::MaxLanes(D()));
}
template <bool kInverse, class V>
HWY_INLINE ComplexVector<V> exchanged_if(ComplexVector<V> c) {
  return kInverse ? ComplexVector<V>{c.im, c.re} : c;
}

// Pass number `pass` of several transforms: all short ones along one factor of the length. An inverse
// transform (without the factor 1 / L) is one with real and imaginary parts exchanged before and after; only
// its results may be unwanted.
template <int kFactor, bool kInverse, class D, class T = hn::TFromD<D>>
HWY_NOINLINE void fft_pass(D d, std::size_t pass, int transforms, const Elements<T>& from,
                           const Elements<T>& to) {
  const std::int64_t length = from.places.length(), end = to.places.end();
  const T* source = from.z;
  T* target = to.z;
  for (; transforms > 0; --transforms, source += from.next, target += to.next) {
    const std::int64_t *in = from.places.read(pass), *out = to.places.written(pass);
    for (std::int64_t i = 0; i < length; i += kFactor) {
      ComplexVector<hn::Vec<D>> x[kFactor];
#pragma GCC unroll 9
      for (int j = 0; j < kFactor; ++j) x[j] = exchanged_if<kInverse>(load_element(d, source + in[i + j]));
      dft<kFactor>(d, x);
#pragma GCC unroll 9
      for (int j = 0; j < kFactor; ++j)
        if (!kInverse || out[i + j] < end)
          store_element(d, exchanged_if<kInverse>(x[j]), target + out[i + j]);
    }
  }
}

// The last pass of a transform, the product with a spectrum and the first pass of the inverse transform, in
// place. An element meets that of the spectrum, or its conjugate, which the places of the spectrum tell.
template <int kFactor, class D, class T = hn::TFromD<D>>
HWY_NOINLINE void fft_product_pass(D d, std::size_t pass, const Elements<T>& z,
                                   const Elements<const T>& spectrum, bool conjugated) {
  const auto sign_of_im = hn::Set(d, conjugated ? T(-0.0) : T(0));
  const std::int64_t *at = z.places.read(pass), *spectrum_at = spectrum.places.read(pass);
  for (std::int64_t line = z.places.length() / kFactor; line > 0;
       --line, at += kFactor, spectrum_at += kFactor) {
    ComplexVector<hn::Vec<D>> x[kFactor];
#pragma GCC unroll 9
    for (int j = 0; j < kFactor; ++j) x[j] = load_element(d, z.z + at[j]);
    dft<kFactor>(d, x);
#pragma GCC unroll 9
    for (int j = 0; j < kFactor; ++j) {
      const auto g = load_element(d, spectrum.z + spectrum_at[j]);
      const auto im = hn::Xor(sign_of_im, g.im);
      // Real and imaginary part already exchanged, for the inverse.
      x[j] = {hn::MulAdd(x[j].im, g.re, hn::Mul(x[j].re, im)),
              hn::NegMulAdd(x[j].im, im, hn::Mul(x[j].re, g.re))};
    }
    dft<kFactor>(d, x);
#pragma GCC unroll 9
    for (int j = 0; j < kFactor; ++j) store_element(d, exchanged_if<true>(x[j]), z.z + at[j]);
  }
}

// Calls f(integral constant) with a factor of a length.
template <class F>
HWY_INLINE void with_factor(int factor, const F& f) {
  switch (factor) {
    case 1:
      return f(std::integral_constant<int, 1>());
    case 2:
      return f(std::integral_constant<int, 2>());
    case 3:
      return f(std::integral_constant<int, 3>());
    case 4:
      return f(std::integral_constant<int, 4>());
    case 5:
      return f(std::integral_constant<int, 5>());
    case 6:
      return f(std::integral_constant<int, 6>());
    case 7:
      return f(std::integral_constant<int, 7>());
    case 8:
      return f(std::integral_constant<int, 8>());
    default:
      return f(std::integral_constant<int, 9>());
  }
}

template <class D, class T = hn::TFromD<D>>
HWY_INLINE void fft_pass(D d, const FftLength& length, std::size_t pass, bool inverse, int transforms,
                         const Elements<T>& from, const Elements<T>& to) {
  with_factor(length.factors[pass], [&]<int kFactor>(std::integral_constant<int, kFactor>) {
    inverse ? fft_pass<kFactor, true>(d, pass, transforms, from, to)
            : fft_pass<kFactor, false>(d, pass, transforms, from, to);
  });
}

template <class D, class T = hn::TFromD<D>>
HWY_INLINE void fft_product_pass(D d, const FftLength& length, std::size_t pass, const Elements<T>& z,
                                 const Elements<const T>& spectrum, bool conjugated) {
  with_factor(length.factors[pass], [&]<int kFactor>(std::integral_constant<int, kFactor>) {
    fft_product_pass<kFactor>(d, pass, z, spectrum, conjugated);
  });
}

// Transforms of `from` by way of `work` (all of it) to `to`; the inverse is not scaled.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE void fft(D d, const FftLength& length, bool inverse, int transforms, const Elements<T>& from,
                    const Elements<T>& work, const Elements<T>& to) {
  const std::size_t last = length.factors.size() - 1;
  for (std::size_t i = 0; i <= last; ++i)
    fft_pass(d, length, i, inverse, transforms, i == 0 ? from : work, i == last ? to : work);
}

// The same, product(pass) in between with the last pass, and transformed back: see fft_product_pass.
template <class D, class F, class T = hn::TFromD<D>>
HWY_INLINE void fft_there_and_back(D d, const FftLength& length, int transforms, const Elements<T>& from,
                                   const Elements<T>& work, const Elements<T>& to, const F& product) {
  const std::size_t last = length.factors.size() - 1;
  for (std::size_t i = 0; i < last; ++i)
    fft_pass(d, length, i, false, transforms, i == 0 ? from : work, work);
  product(last);
  for (std::size_t i = 0; i < last; ++i)
    fft_pass(d, length, i, true, transforms, work, i + 1 == last ? to : work);
}

}  // namespace replk::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
