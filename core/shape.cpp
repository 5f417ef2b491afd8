#include "core/shape.h"

#include <algorithm>

#include "core/error.h"

namespace replk {

Shape::Shape(std::initializer_list<std::int64_t> extents)
    : Shape(std::span<const std::int64_t>(extents.begin(), extents.size())) {}

Shape::Shape(std::span<const std::int64_t> extents) {
  check(extents.size() <= kMaxRank, "shape: at most ", kMaxRank, " axes, got ", extents.size(), ".");
  for (const std::int64_t extent : extents) {
    check(extent >= 0, "shape: extents must not be negative, axis ", rank_, " is ", extent, ".");
    check(!__builtin_mul_overflow(numel_, extent, &numel_) && numel_ <= (std::int64_t{1} << 62),
          "shape: more than 2^62 elements.");
    extents_[rank_++] = extent;
  }
}

std::int64_t Shape::operator[](int axis) const {
  check(axis >= 0 && axis < rank_, "shape: axis ", axis, " of ", *this, ".");
  return extents_[axis];
}

bool operator==(const Shape& a, const Shape& b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }

std::ostream& operator<<(std::ostream& out, Extent2d extent) { return out << extent.h << 'x' << extent.w; }

std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  out << '(';
  for (int axis = 0; axis < shape.rank(); ++axis) out << (axis ? ", " : "") << shape[axis];
  return out << ')';
}

}  // namespace replk
