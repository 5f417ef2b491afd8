// Lengths for which fft-inl.h has a transform, and the constants of its short transforms.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <vector>

#include "core/error.h"

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

/// A length and its coprime factors: at most one power of 2 up to 8, one of 3 up to 9, 5 and 7.
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
            for (const int factor : {two, three, five, seven})
              if (factor > 1) best.factors.push_back(factor);
          }
    return best;
  }
};

}  // namespace replk::cpu
