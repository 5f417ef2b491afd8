// Lengths for which fft-inl.h has a transform, and the constants of its short transforms.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <vector>

#include "core/error.h"
#include "ops/depthwise_conv2d/depthwise_conv2d.h"

namespace replk::cpu {

/// cos(2 pi j / N) and sin(2 pi j / N).
template <int N>
struct Roots {
  std::array<double, N> cosine, sine;
  Roots() {
    for (int j = 0; j < N; ++j) {
      cosine[j] = std::cos(2 * std::numbers::pi * j / N);
      sine[j] = std::sin(2 * std::numbers::pi * j / N);
    }
  }
};
template <int N>
inline const Roots<N> kRoots;
inline constexpr double kHalfRoot = std::numbers::sqrt2 / 2;

/// A length and its coprime factors: at most one power of 2 up to 8, one of 3 up to 9 (or 6), 5 and 7.
struct FftLength {
  static constexpr std::int64_t kLongest = 8 * 9 * 5 * 7;

  std::int64_t value = 1;
  std::vector<int> factors;

  /// The shortest that is at least `at_least`. Throws Error beyond kLongest.
  static FftLength at_least(std::int64_t at_least) {
    check(at_least <= kLongest, "fft: a length of ", at_least, " is beyond the longest, ", kLongest, ".");
    FftLength best{kLongest, {8, 9, 5, 7}};
    for (const int two : {1, 2, 4, 8})
      for (const int three : {1, 3, 9})
        for (const int five : {1, 5})
          for (const int seven : {1, 7}) {
            const std::int64_t value = std::int64_t{two} * three * five * seven;
            if (value < at_least || value >= best.value) continue;
            best = {value, {}};
            const bool six = two == 2 && three == 3;  // one pass instead of two
            for (const int factor : {six ? 6 : two, six ? 1 : three, five, seven})
              if (factor > 1) best.factors.push_back(factor);
            // A first and a last pass, so that either has only its own end to care for.
            while (best.factors.size() < 2) best.factors.insert(best.factors.begin(), 1);
          }
    return best;
  }
};

inline std::int64_t modulo(std::int64_t a, std::int64_t n) { return (a % n + n) % n; }

/// Everything that one call's sizes decide. Along each axis a transform holds max(H + p, Ho + K - 1 - p, Ho,
/// K) points: what wraps around lands in outputs that nobody keeps.
struct FftShape {
  FftLength h, w;
  std::int64_t columns;  // of a spectrum that are kept: 0 ... w/2, the others follow from symmetry

  explicit FftShape(const DepthwiseConv2dGeometry& g)
      : h(along(g.input.h, g.output.h, g.kernel.h, g.padding.h)),
        w(along(g.input.w, g.output.w, g.kernel.w, g.padding.w)),
        columns(w.value / 2 + 1) {}

  static std::int64_t points(std::int64_t input, std::int64_t output, std::int64_t kernel,
                             std::int64_t padding) {
    return std::max({input + padding, output + kernel - 1 - padding, output, kernel});
  }

 private:
  static FftLength along(std::int64_t input, std::int64_t output, std::int64_t kernel, std::int64_t padding) {
    return FftLength::at_least(points(input, output, kernel, padding));
  }
};

}  // namespace replk::cpu
