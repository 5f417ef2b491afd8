// Discrete Fourier transforms in the registers of one thread.
//
// A length L = N1 N2 ... of coprime factors takes one pass per factor, in place and without twiddles (the
// prime-factor algorithm: Good 1958, Thomas 1963). The result for frequency k is left at a place that depends
// on k linearly (modulo L). A convolution does not care: both factors are permuted alike, and the inverse
// undoes it. fft-inl.h says the same for the vectors of a CPU.
#pragma once

#include <numbers>
#include <numeric>

#include "core/cuda/vector.cuh"

namespace replk::cuda {

struct alignas(8) Complex {
  float re, im;
};
__device__ inline Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
__device__ inline Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
/// a * b with real and imaginary part exchanged. An inverse transform is a transform between two such
/// exchanges: what has been multiplied so needs no more than to be read the other way round after it.
__device__ inline Complex exchanged_product(Complex a, Complex b) {
  return {a.re * b.im + a.im * b.re, a.re * b.re - a.im * b.im};
}

/// cos(2 pi j / N) and sin(2 pi j / N), by their series: known when it is compiled.
template <int N>
struct Roots {
  float cosine[N], sine[N];
  constexpr Roots() : cosine(), sine() {
    for (int j = 0; j < N; ++j) {
      const double x = 2 * std::numbers::pi * (2 * j > N ? j - N : j) / N;
      double term = 1, even = 0, odd = 0;
      for (int i = 0; i < 32; ++i) {
        (i % 2 ? odd : even) += i % 4 < 2 ? term : -term;
        term *= x / (i + 1);
      }
      cosine[j] = static_cast<float>(even), sine[j] = static_cast<float>(odd);
    }
  }
};

/// X[k] = sum over j of x[j] exp(-2 pi i j k / N), in place.
template <int N>
__device__ __forceinline__ void dft(Complex (&x)[N]) {
  constexpr Roots<N> roots;
  if constexpr (N == 2) {
    const Complex a = x[0], b = x[1];
    x[0] = a + b, x[1] = a - b;
  } else if constexpr (N == 4) {
    const Complex a = x[0] + x[2], b = x[0] - x[2], c = x[1] + x[3], d = x[1] - x[3];
    x[0] = a + c, x[2] = a - c;
    x[1] = {b.re + d.im, b.im - d.re}, x[3] = {b.re - d.im, b.im + d.re};
  } else if constexpr (N == 8) {
    Complex e[4] = {x[0], x[2], x[4], x[6]}, o[4] = {x[1], x[3], x[5], x[7]};
    dft(e), dft(o);
    // Times exp(-2 pi i k / 8): 1, (1 - i) r, -i, (-1 - i) r.
    constexpr float r = roots.cosine[1];
    o[1] = {r * (o[1].re + o[1].im), r * (o[1].im - o[1].re)};
    o[2] = {o[2].im, -o[2].re};
    o[3] = {r * (o[3].im - o[3].re), -r * (o[3].re + o[3].im)};
#pragma unroll
    for (int k = 0; k < 4; ++k) x[k] = e[k] + o[k], x[k + 4] = e[k] - o[k];
  } else if constexpr (N == 9) {
    // j = 3 a + b, k = c + 3 d: three transforms over a, times exp(-2 pi i b c / 9), three over b.
    Complex y[3][3];
#pragma unroll
    for (int b = 0; b < 3; ++b) {
      y[b][0] = x[b], y[b][1] = x[3 + b], y[b][2] = x[6 + b];
      dft(y[b]);
#pragma unroll
      for (int c = 1; c < 3; ++c) {
        if (b == 0) continue;
        const float cosine = roots.cosine[b * c], sine = roots.sine[b * c];
        y[b][c] = {cosine * y[b][c].re + sine * y[b][c].im, cosine * y[b][c].im - sine * y[b][c].re};
      }
    }
#pragma unroll
    for (int c = 0; c < 3; ++c) {
      Complex z[3] = {y[0][c], y[1][c], y[2][c]};
      dft(z);
#pragma unroll
      for (int d = 0; d < 3; ++d) x[c + 3 * d] = z[d];
    }
  } else {
    // Odd: with t_j = x_j + x_{-j} and s_j = x_j - x_{-j},  X_{+-k} = x_0 + sum t_j cos(2 pi j k / N) -+ i
    // sum s_j sin(2 pi j k / N).
    static_assert(N == 3 || N == 5 || N == 7);
    constexpr int kHalf = N / 2;
    const Complex x0 = x[0];
    Complex t[kHalf], s[kHalf];
#pragma unroll
    for (int j = 0; j < kHalf; ++j) {
      t[j] = x[j + 1] + x[N - 1 - j], s[j] = x[j + 1] - x[N - 1 - j];
      x[0] = x[0] + t[j];
    }
#pragma unroll
    for (int k = 1; k <= kHalf; ++k) {
      Complex even = x0, odd = {0, 0};
#pragma unroll
      for (int j = 1; j <= kHalf; ++j) {
        const float cosine = roots.cosine[j * k % N], sine = roots.sine[j * k % N];
        even = {even.re + cosine * t[j - 1].re, even.im + cosine * t[j - 1].im};
        odd = j == 1 ? Complex{sine * s[0].re, sine * s[0].im}
                     : Complex{odd.re + sine * s[j - 1].re, odd.im + sine * s[j - 1].im};
      }
      x[k] = {even.re + odd.im, even.im - odd.re}, x[N - k] = {even.re - odd.im, even.im + odd.re};
    }
  }
}

/// The transforms of length N, a factor of L, that are a pass of one of length L.
template <int N, int L>
__device__ __forceinline__ void fft_pass(Complex (&z)[L]) {
  if constexpr (N > 1) {
#pragma unroll
    for (int line = 0; line < L / N; ++line) {
      Complex x[N];
#pragma unroll
      for (int j = 0; j < N; ++j) x[j] = z[(line * N + j * (L / N)) % L];
      dft(x);
#pragma unroll
      for (int j = 0; j < N; ++j) z[(line * N + j * (L / N)) % L] = x[j];
    }
  }
}

/// The transform of length L, a divisor of 2520 = 8 * 9 * 5 * 7, in place.
template <int L>
__device__ __forceinline__ void fft(Complex (&z)[L]) {
  fft_pass<std::gcd(L, 8)>(z);
  fft_pass<std::gcd(L, 9)>(z);
  fft_pass<std::gcd(L, 5)>(z);
  fft_pass<std::gcd(L, 7)>(z);
}

}  // namespace replk::cuda
