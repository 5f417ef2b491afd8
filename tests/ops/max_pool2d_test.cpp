#include "ops/max_pool2d/max_pool2d.h"

#include <cmath>
#include <limits>

#include "core/random.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// The multiples of 2 / n in [-1, 1) in random order: neighbours are further apart than the steps of the
// gradient check, so no step changes which element is the largest.
Tensor distinct(const Shape& shape) {
  Values values(static_cast<std::size_t>(shape.numel()));
  Random random(3);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = 2.0 * static_cast<double>(i) / static_cast<double>(values.size()) - 1;
    std::swap(values[i], values[static_cast<std::size_t>(random.below(static_cast<std::int64_t>(i) + 1))]);
  }
  return Tensor::of(values, shape);
}

Values by_definition(const Values& x, const Shape& s, const Shape& out, Extent2d kernel, Extent2d stride,
                     Extent2d padding) {
  Values y;
  for (std::int64_t plane = 0; plane < s[0] * s[1]; ++plane)
    for (std::int64_t ho = 0; ho < out[2]; ++ho)
      for (std::int64_t wo = 0; wo < out[3]; ++wo) {
        double largest = -std::numeric_limits<double>::infinity();
        for (std::int64_t i = 0; i < kernel.h; ++i)
          for (std::int64_t j = 0; j < kernel.w; ++j) {
            const std::int64_t h = ho * stride.h - padding.h + i, w = wo * stride.w - padding.w + j;
            if (h >= 0 && h < s[2] && w >= 0 && w < s[3])
              largest = std::max(largest, x[static_cast<std::size_t>((plane * s[2] + h) * s[3] + w)]);
          }
        y.push_back(largest);
      }
  return y;
}

void check_max(const Shape& shape, const Pool2dParams& params, const Shape& expected) {
  const Extent2d stride = params.stride == Extent2d() ? params.kernel_size : params.stride;
  const Tensor x = distinct(shape);
  REQUIRE(max_pool2d(x, params).shape() == expected);
  check_op({.name = str("max_pool2d ", shape, " kernel ", params.kernel_size, " stride ", stride),
            .inputs = {x},
            .op = [&](const auto& in) { return max_pool2d(in[0], params); },
            .reference =
                [&](const auto& in) {
                  return by_definition(in[0], shape, expected, params.kernel_size, stride, params.padding);
                },
            .gradient_terms = static_cast<double>(params.kernel_size.h * params.kernel_size.w)});
}

// y and dx of one 3x3 window over a 3x3 map, for dy = 1.
std::pair<double, Values> single_window(const Values& map) {
  Tape tape;
  const Variable x = tape.watch(Tensor::of(map, {1, 1, 3, 3}));
  const Variable y = max_pool2d(x, {.kernel_size = 3});
  tape.backward(y);
  return {y.data().item(), tape.gradient(x).to_vector()};
}

}  // namespace

TEST_CASE("ops/max_pool2d/check_op") {
  check_max({3, 2, 9, 12}, {.kernel_size = 3, .stride = 2, .padding = 1}, {3, 2, 5, 6});
  check_max({1, 1, 1, 1}, {.kernel_size = 1}, {1, 1, 1, 1});
  check_max({2, 3, 8, 6}, {.kernel_size = 2}, {2, 3, 4, 3});
  check_max({2, 2, 9, 5}, {.kernel_size = {4, 2}, .stride = {1, 3}, .padding = {2, 1}}, {2, 2, 10, 2});
  check_max({1, 2, 5, 33}, {.kernel_size = {3, 33}, .stride = 1}, {1, 2, 3, 1});
  check_max({2, 1, 1, 2}, {.kernel_size = 3, .stride = 1, .padding = 1}, {2, 1, 1, 2});
  check_max({12, 8, 10, 10}, {.kernel_size = 2}, {12, 8, 5, 5});
}

TEST_CASE("ops/max_pool2d/padding never wins") {
  const Tensor x = Tensor::full({1, 1, 2, 2}, -5, DType::f64);
  CHECK(max_pool2d(x, {.kernel_size = 2, .stride = 1, .padding = 1}).data().to_vector() == Values(9, -5.0));
}

TEST_CASE("ops/max_pool2d/of equal values the first gets the gradient") {
  CHECK(single_window({0, 1, 2, 2, 0, 2, 2, 0, 0}) == std::pair(2.0, Values{0, 0, 1, 0, 0, 0, 0, 0, 0}));
  const double inf = std::numeric_limits<double>::infinity();
  CHECK(single_window(Values(9, -inf)) == std::pair(-inf, Values{1, 0, 0, 0, 0, 0, 0, 0, 0}));
}

TEST_CASE("ops/max_pool2d/NaN wins, the last one with the gradient") {
  const auto [y, dx] = single_window({0, kNan, 2, kNan, 9, 2, 2, 0, 0});
  CHECK(std::isnan(y));
  CHECK(dx == Values{0, 0, 0, 1, 0, 0, 0, 0, 0});
}

TEST_CASE("ops/max_pool2d/errors") {
  const Tensor x = random_tensor({3, 2, 5, 4}, 1);
  check_error(
      [&] {
        max_pool2d(random_tensor({3, 4}, 1), {.kernel_size = 2});
      },
      {"max_pool2d", "(C, N, H, W)", "(3, 4)"});
  check_error([&] { max_pool2d(x, {.kernel_size = {2, 0}}); }, {"max_pool2d", "kernel_size", "W"});
  check_error([&] { max_pool2d(x, {.kernel_size = 2, .stride = 1, .padding = 2}); }, {"padding", "[0, 1]"});
  check_error([&] { max_pool2d(x, {.kernel_size = 6}); }, {"6 along H", "5 pixels"});
}
