#include "tests/support/layout.h"

#include <cstring>
#include <vector>

namespace replk::test {

Tensor swap_outer_axes(const Tensor& x) {
  std::vector<std::int64_t> extents(x.shape().begin(), x.shape().end());
  std::swap(extents.at(0), extents.at(1));
  Tensor y = Tensor::empty(Shape(extents), x.dtype());
  const std::int64_t a = x.size(0), b = x.size(1);
  const std::size_t plane = x.numel() > 0 ? x.bytes() / static_cast<std::size_t>(a * b) : 0;
  const auto* from = static_cast<const char*>(x.raw());
  auto* to = static_cast<char*>(y.raw());
  for (std::int64_t i = 0; i < a; ++i)
    for (std::int64_t j = 0; j < b; ++j)
      std::memcpy(to + static_cast<std::size_t>(j * a + i) * plane,
                  from + static_cast<std::size_t>(i * b + j) * plane, plane);
  return y;
}

}  // namespace replk::test
