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
template <class T, int N>
struct Roots {
  std::array<T, N> cosine, sine;
  Roots() {
    for (int j = 0; j < N; ++j) {
      cosine[j] = static_cast<T>(std::cos(2 * std::numbers::pi * j / N));
      sine[j] = static_cast<T>(std::sin(2 * std::numbers::pi * j / N));
    }
  }
};
template <class T, int N>
inline const Roots<T, N> kRoots;
inline constexpr double kHalfRoot = std::numbers::sqrt2 / 2;

/// A length and its coprime factors: at most one power of 2 up to 8, one of 3 up to 9 (or 6), 5 and 7.
struct FftLength {
  static constexpr std::int64_t kLongest = 8 * 9 * 5 * 7;

  std::int64_t value = 1;
  std::vector<int> factors;

  /// The shortest that is at least `at_least`. Throws Error beyond kLongest.
  static FftLength at_least(std::int64_t at_least) {
    check(at_least <= kLongest, "fft: a length of ", at_least, " is beyond the longest, ", kLongest, ".");
    FftLength best{kLongest, {7, 5, 9, 8}};
    for (const int two : {1, 2, 4, 8})
      for (const int three : {1, 3, 9})
        for (const int five : {1, 5})
          for (const int seven : {1, 7}) {
            const std::int64_t value = std::int64_t{two} * three * five * seven;
            if (value < at_least || value >= best.value) continue;
            best = {value, {}};
            const bool six = two == 2 && three == 3;  // one pass instead of two
            // The last meets the spectrum, whose multiplications go best with a transform of additions.
            for (const int factor : {seven, five, six ? 1 : three, six ? 6 : two})
              if (factor > 1) best.factors.push_back(factor);
            // But neighbours take up to a third longer that way, measured at 5 4, 7 6 and 9 8.
            if (best.factors.size() == 2 && best.factors[0] == best.factors[1] + 1)
              std::swap(best.factors[0], best.factors[1]);
            // A first and a last pass, so that either has only its own end to care for.
            while (best.factors.size() < 2) best.factors.insert(best.factors.begin(), 1);
          }
    return best;
  }
};

inline std::int64_t modulo(std::int64_t a, std::int64_t n) { return (a % n + n) % n; }

/// Where the elements lie that a transform reads or writes: for each pass, the elements of one short
/// transform after the other, in the order of fft-inl.h. Places are offsets in elements of memory.
class FftPlaces {
 public:
  /// Element i lies at i * step (with `mirrored` at the place of -i). Those from `count` on are zero and are
  /// read at length * step, where there has to be a zero; written they are to be left out.
  FftPlaces(const FftLength& length, std::int64_t step, std::int64_t count, bool mirrored = false)
      : length_(length.value), end_(count * step) {
    read_.reserve(length.factors.size() * static_cast<std::size_t>(length_));
    written_.reserve(read_.capacity());
    for (const int factor : length.factors) {
      std::int64_t i = 0;
      for (std::int64_t line = 0; line < length_ / factor; ++line, i = wrapped(i + factor))
        for (int j = 0; j < factor; ++j, i = wrapped(i + length_ / factor)) {
          const std::int64_t at = mirrored && i ? length_ - i : i;
          read_.push_back((at < count ? at : length_) * step);
          written_.push_back(at * step);
        }
    }
  }
  std::int64_t length() const { return length_; }
  const std::int64_t* read(std::size_t pass) const { return read_.data() + std::int64_t(pass) * length_; }
  const std::int64_t* written(std::size_t pass) const {
    return written_.data() + std::int64_t(pass) * length_;
  }
  /// Places from here on are not written.
  std::int64_t end() const { return end_; }

 private:
  std::int64_t wrapped(std::int64_t i) const { return i < length_ ? i : i - length_; }

  std::int64_t length_, end_;
  std::vector<std::int64_t> read_, written_;
};

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
