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

// Where the elements of a transform lie: real part at z + i * step, imaginary part a vector further. Elements
// from `count` on are zero when read and not kept when written.
template <class T>
struct Elements {
  T* z;
  std::int64_t step, count;
};

template <class D, class T = hn::TFromD<D>>
HWY_INLINE ComplexVector<hn::Vec<D>> load_element(D d, Elements<T> from, std::int64_t i) {
  if (i >= from.count) return {hn::Zero(d), hn::Zero(d)};
  const T* z = from.z + i * from.step;
  return {hn::Load(d, z), hn::Load(d, z + hn::MaxLanes(D()))};
}
template <class D, class T = hn::TFromD<D>>
HWY_INLINE void store_element(D d, ComplexVector<hn::Vec<D>> c, Elements<T> to, std::int64_t i) {
  if (i >= to.count) return;
  T* z = to.z + i * to.step;
  hn::Store(c.re, d, z);
  hn::Store(c.im, d, z + hn::MaxLanes(D()));
}
template <bool kInverse, class V>
HWY_INLINE ComplexVector<V> exchanged_if(ComplexVector<V> c) {
  return kInverse ? ComplexVector<V>{c.im, c.re} : c;
}

// The kFactor places of one line along a factor of the length.
template <int kFactor>
struct LinePlaces {
  std::int64_t place[kFactor];
  HWY_INLINE LinePlaces(std::int64_t begin, std::int64_t length) {
#pragma GCC unroll 9
    for (int j = 0; j < kFactor; ++j) {
      place[j] = begin;
      begin += length / kFactor;
      if (begin >= length) begin -= length;
    }
  }
};

// Calls f(places) for every line along a factor.
template <int kFactor, class F>
HWY_INLINE void for_lines(std::int64_t length, const F& f) {
  for (std::int64_t line = 0, begin = 0; line < length / kFactor; ++line) {
    f(LinePlaces<kFactor>(begin, length).place);
    begin += kFactor;
    if (begin >= length) begin -= length;
  }
}

// All transforms along one factor of the length. An inverse transform (without the factor 1 / L) is one with
// real and imaginary parts exchanged before and after.
template <int kFactor, bool kInverse, class D, class T = hn::TFromD<D>>
HWY_NOINLINE void fft_pass(D d, std::int64_t length, Elements<T> from, Elements<T> to) {
  for_lines<kFactor>(
      length, [&](const std::int64_t* place) HWY_ATTR __attribute__((always_inline)) {
        ComplexVector<hn::Vec<D>> x[kFactor];
#pragma GCC unroll 9
        for (int j = 0; j < kFactor; ++j) x[j] = exchanged_if<kInverse>(load_element(d, from, place[j]));
        dft<kFactor>(d, x);
#pragma GCC unroll 9
        for (int j = 0; j < kFactor; ++j) store_element(d, exchanged_if<kInverse>(x[j]), to, place[j]);
      });
}

// The last pass of a transform, the product with a spectrum and the first pass of the inverse transform, in
// place. Place i meets spectrum element i, or with `mirrored` element -i; its imaginary part times `sign`.
template <int kFactor, class D, class T = hn::TFromD<D>>
HWY_NOINLINE void fft_product_pass(D d, std::int64_t length, Elements<T> z, const T* spectrum, bool mirrored,
                                   T sign) {
  const auto sign_of_im = hn::Set(d, sign);
  for_lines<kFactor>(
      length, [&](const std::int64_t* place) HWY_ATTR __attribute__((always_inline)) {
        ComplexVector<hn::Vec<D>> x[kFactor];
#pragma GCC unroll 9
        for (int j = 0; j < kFactor; ++j) x[j] = load_element(d, z, place[j]);
        dft<kFactor>(d, x);
#pragma GCC unroll 9
        for (int j = 0; j < kFactor; ++j) {
          const std::int64_t i = mirrored && place[j] ? length - place[j] : place[j];
          const T* g = spectrum + i * 2 * hn::MaxLanes(D());
          const auto re = hn::Load(d, g), im = hn::Mul(sign_of_im, hn::Load(d, g + hn::MaxLanes(D())));
          // Real and imaginary part already exchanged, for the inverse.
          x[j] = {hn::MulAdd(x[j].im, re, hn::Mul(x[j].re, im)),
                  hn::NegMulAdd(x[j].im, im, hn::Mul(x[j].re, re))};
        }
        dft<kFactor>(d, x);
#pragma GCC unroll 9
        for (int j = 0; j < kFactor; ++j) store_element(d, exchanged_if<true>(x[j]), z, place[j]);
      });
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

// The transform of `from` by way of `work` (all of it) to `to`; the inverse is not scaled.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE void fft(D d, const FftLength& length, bool inverse, Elements<T> from, Elements<T> work,
                    Elements<T> to) {
  const std::size_t last = length.factors.size() - 1;
  for (std::size_t i = 0; i <= last; ++i)
    with_factor(length.factors[i], [&]<int kFactor>(std::integral_constant<int, kFactor>) {
      const Elements<T> in = i == 0 ? from : work, out = i == last ? to : work;
      inverse ? fft_pass<kFactor, true>(d, length.value, in, out)
              : fft_pass<kFactor, false>(d, length.value, in, out);
    });
}

// The same, times a spectrum, and transformed back: see fft_product_pass.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE void fft_product(D d, const FftLength& length, Elements<T> from, Elements<T> work, Elements<T> to,
                            const T* spectrum, bool mirrored, T sign) {
  const std::size_t last = length.factors.size() - 1;
  const auto pass = [&](std::size_t i, bool inverse, Elements<T> in, Elements<T> out) {
    with_factor(length.factors[i], [&]<int kFactor>(std::integral_constant<int, kFactor>) {
      inverse ? fft_pass<kFactor, true>(d, length.value, in, out)
              : fft_pass<kFactor, false>(d, length.value, in, out);
    });
  };
  for (std::size_t i = 0; i < last; ++i) pass(i, false, i == 0 ? from : work, work);
  with_factor(length.factors[last], [&]<int kFactor>(std::integral_constant<int, kFactor>) {
    fft_product_pass<kFactor>(d, length.value, work, spectrum, mirrored, sign);
  });
  for (std::size_t i = 0; i < last; ++i) pass(i, true, work, i + 1 == last ? to : work);
}

}  // namespace replk::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
