// Shape: the extents of a tensor, at most five of them.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <ostream>
#include <span>

namespace replk {

/// Extents of a contiguous tensor, outermost first. Rank 0 is a scalar of one element.
/// Throws Error on a negative extent, a rank above kMaxRank, or more than 2^62 elements.
class Shape {
 public:
  static constexpr int kMaxRank = 5;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> extents);
  explicit Shape(std::span<const std::int64_t> extents);

  int rank() const { return rank_; }
  std::int64_t operator[](int axis) const;
  std::int64_t numel() const { return numel_; }
  const std::int64_t* begin() const { return extents_.data(); }
  const std::int64_t* end() const { return extents_.data() + rank_; }

  friend bool operator==(const Shape& a, const Shape& b);

 private:
  std::array<std::int64_t, kMaxRank> extents_{};
  int rank_ = 0;
  std::int64_t numel_ = 1;
};

/// Height and width of a kernel, stride, padding or map. One number stands for both: {.stride = 2}.
struct Extent2d {
  std::int64_t h = 0, w = 0;
  constexpr Extent2d() = default;
  constexpr Extent2d(std::int64_t both) : h(both), w(both) {}  // NOLINT: {.padding = 15} is how it is written
  constexpr Extent2d(std::int64_t h_, std::int64_t w_) : h(h_), w(w_) {}
  constexpr std::int64_t area() const { return h * w; }
  friend constexpr bool operator==(const Extent2d&, const Extent2d&) = default;
};

/// "31x31"
std::ostream& operator<<(std::ostream& out, Extent2d extent);

/// "(128, 64, 56, 56)"
std::ostream& operator<<(std::ostream& out, const Shape& shape);

}  // namespace replk
