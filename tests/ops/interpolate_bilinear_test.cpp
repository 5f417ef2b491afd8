#include "ops/interpolate_bilinear/interpolate_bilinear.h"

#include <cmath>

#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

namespace {

// Share of input i in output o along one axis: a hat of width 1 around the output's position in the input,
// which is held inside the map.
double share(std::int64_t o, std::int64_t i, std::int64_t in, std::int64_t out, bool align_corners) {
  const auto size = static_cast<double>(in), target = static_cast<double>(out), at = static_cast<double>(o);
  double position = (2 * at + 1) * size / (2 * target) - 0.5;
  if (align_corners) position = out == 1 ? 0 : at / (target - 1) * (size - 1);
  position = std::min(std::max(position, 0.0), size - 1);
  return std::max(0.0, 1 - std::abs(position - static_cast<double>(i)));
}

Values by_definition(const Values& x, const Shape& s, const InterpolateParams& p) {
  Values y;
  for (std::int64_t plane = 0; plane < s[0] * s[1]; ++plane)
    for (std::int64_t ho = 0; ho < p.size.h; ++ho)
      for (std::int64_t wo = 0; wo < p.size.w; ++wo) {
        double sum = 0;
        for (std::int64_t h = 0; h < s[2]; ++h)
          for (std::int64_t w = 0; w < s[3]; ++w)
            sum += share(ho, h, s[2], p.size.h, p.align_corners) *
                   share(wo, w, s[3], p.size.w, p.align_corners) *
                   x[static_cast<std::size_t>((plane * s[2] + h) * s[3] + w)];
        y.push_back(sum);
      }
  return y;
}

void check_resize(const Shape& shape, Extent2d size) {
  for (const bool align_corners : {false, true}) {
    const InterpolateParams params{.size = size, .align_corners = align_corners};
    const Tensor x = random_tensor(shape, 1);
    const Shape expected{shape[0], shape[1], size.h, size.w};
    REQUIRE(interpolate_bilinear(x, params).shape() == expected);
    const auto fan = static_cast<double>((2 * size.h / shape[2] + 2) * (2 * size.w / shape[3] + 2));
    check_op({.name = str("interpolate_bilinear ", shape, " to ", size, " align_corners ", align_corners),
              .inputs = {x},
              .op = [&](const auto& in) { return interpolate_bilinear(in[0], params); },
              .reference = [&](const auto& in) { return by_definition(in[0], shape, params); },
              .terms = 4,
              .gradient_terms = fan,
              .linear_in = {0}});
  }
}

}  // namespace

TEST_CASE("ops/interpolate_bilinear/check_op") {
  for (const Extent2d size : {Extent2d(13, 17), Extent2d(4, 3), Extent2d(6, 5), Extent2d(1), Extent2d(12, 2),
                              Extent2d(1, 40), Extent2d(7, 5)})
    check_resize({3, 2, 6, 5}, size);
  check_resize({1, 1, 1, 1}, 1);
  check_resize({2, 1, 1, 1}, {3, 4});
  check_resize({1, 3, 1, 9}, {2, 5});
  check_resize({16, 8, 14, 13}, {20, 27});
}

TEST_CASE("ops/interpolate_bilinear/the same size is the identity") {
  const Tensor x = random_tensor({3, 2, 7, 9}, 1, -1, 1, DType::f32);
  for (const bool align_corners : {false, true})
    CHECK(interpolate_bilinear(x, {.size = {7, 9}, .align_corners = align_corners}).data().to_vector() ==
          x.to_vector());
}

TEST_CASE("ops/interpolate_bilinear/errors") {
  check_error(
      [] {
        interpolate_bilinear(random_tensor({3, 4}, 1), {.size = 2});
      },
      {"interpolate_bilinear", "(C, N, H, W)", "(3, 4)"});
  check_error([] { interpolate_bilinear(random_tensor({3, 2, 0, 4}, 1), {.size = 2}); }, {"(3, 2, 0, 4)"});
  check_error(
      [] {
        interpolate_bilinear(random_tensor({3, 2, 4, 4}, 1), {.size = {3, 0}});
      },
      {"interpolate_bilinear", "3x0"});
}

// The GPU's backward looks for the outputs that read an input among outputs_near: none may be missing.
TEST_CASE("ops/interpolate_bilinear/outputs_near misses none") {
  for (std::int64_t in = 1; in <= 24; ++in)
    for (std::int64_t out = 1; out <= 40; ++out)
      for (const bool align_corners : {false, true}) {
        const InterpolateAxis axis{in, out, align_corners};
        INFO("in " << in << " out " << out << " align_corners " << align_corners);
        std::vector<double> total(static_cast<std::size_t>(out));
        for (std::int64_t i = 0; i < in; ++i) {
          const auto near = axis.outputs_near(i);
          for (std::int64_t o = 0; o < out; ++o) {
            const double weight = axis.weight(o, i);
            if (weight != 0) REQUIRE((near.begin <= o && o < near.end));
            total[static_cast<std::size_t>(o)] += weight;
          }
          REQUIRE(near.end - near.begin <= 2 * out / std::max<std::int64_t>(in - 1, 1) +
                                               8);  // and not all of them, or it would be slow
        }
        for (const double sum : total) REQUIRE(sum == Approx(1));
      }
}
