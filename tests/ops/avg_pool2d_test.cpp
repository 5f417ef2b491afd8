#include "ops/avg_pool2d/avg_pool2d.h"

#include <cmath>

#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

namespace {

double at(const Values& x, const Shape& s, std::int64_t plane, std::int64_t h, std::int64_t w) {
  const bool inside = h >= 0 && h < s[2] && w >= 0 && w < s[3];
  return inside ? x[static_cast<std::size_t>((plane * s[2] + h) * s[3] + w)] : 0.0;
}

Values sliding_by_definition(const Values& x, const Shape& s, const Shape& out, Extent2d kernel,
                             Extent2d stride, Extent2d padding) {
  Values y;
  for (std::int64_t plane = 0; plane < s[0] * s[1]; ++plane)
    for (std::int64_t ho = 0; ho < out[2]; ++ho)
      for (std::int64_t wo = 0; wo < out[3]; ++wo) {
        double sum = 0;
        for (std::int64_t i = 0; i < kernel.h; ++i)
          for (std::int64_t j = 0; j < kernel.w; ++j)
            sum += at(x, s, plane, ho * stride.h - padding.h + i, wo * stride.w - padding.w + j);
        y.push_back(sum / static_cast<double>(kernel.h * kernel.w));
      }
  return y;
}

// Is pixel i of `in` in part o of `out`? Part o covers the interval [o / out, (o + 1) / out) of the map, and
// the pixel [i / in, (i + 1) / in); they belong together when they overlap.
bool overlaps(std::int64_t i, std::int64_t in, std::int64_t o, std::int64_t out) {
  return i * out < (o + 1) * in && o * in < (i + 1) * out;
}

Values adaptive_by_definition(const Values& x, const Shape& s, Extent2d size) {
  Values y;
  for (std::int64_t plane = 0; plane < s[0] * s[1]; ++plane)
    for (std::int64_t ho = 0; ho < size.h; ++ho)
      for (std::int64_t wo = 0; wo < size.w; ++wo) {
        double sum = 0, count = 0;
        for (std::int64_t h = 0; h < s[2]; ++h)
          for (std::int64_t w = 0; w < s[3]; ++w)
            if (overlaps(h, s[2], ho, size.h) && overlaps(w, s[3], wo, size.w)) {
              sum += at(x, s, plane, h, w);
              count += 1;
            }
        y.push_back(sum / count);
      }
  return y;
}

void check_sliding(const Shape& shape, const Pool2dParams& params, const Shape& expected) {
  const Extent2d stride = params.stride == Extent2d() ? params.kernel_size : params.stride;
  const Tensor x = random_tensor(shape, 1);
  REQUIRE(avg_pool2d(x, params).shape() == expected);
  check_op({.name = str("avg_pool2d ", shape, " kernel ", params.kernel_size, " stride ", stride),
            .inputs = {x},
            .op = [&](const auto& in) { return avg_pool2d(in[0], params); },
            .reference =
                [&](const auto& in) {
                  return sliding_by_definition(in[0], shape, expected, params.kernel_size, stride,
                                               params.padding);
                },
            .terms = static_cast<double>(params.kernel_size.h * params.kernel_size.w),
            .gradient_terms = static_cast<double>(params.kernel_size.h * params.kernel_size.w),
            .linear_in = {0}});
}

void check_adaptive(const Shape& shape, Extent2d size) {
  const auto terms = static_cast<double>(shape[2] * shape[3]);
  check_op({.name = str("adaptive_avg_pool2d ", shape, " to ", size),
            .inputs = {random_tensor(shape, 1)},
            .op = [&](const auto& in) { return adaptive_avg_pool2d(in[0], size); },
            .reference = [&](const auto& in) { return adaptive_by_definition(in[0], shape, size); },
            .terms = terms,
            .gradient_terms = static_cast<double>(size.h * size.w),
            .linear_in = {0}});
}

}  // namespace

TEST_CASE("ops/avg_pool2d/check_op") {
  check_sliding({3, 2, 8, 6}, {.kernel_size = 2}, {3, 2, 4, 3});
  check_sliding({1, 1, 1, 1}, {.kernel_size = 1}, {1, 1, 1, 1});
  check_sliding({2, 3, 7, 10}, {.kernel_size = 3, .stride = 2, .padding = 1}, {2, 3, 4, 5});
  check_sliding({2, 2, 9, 5}, {.kernel_size = {4, 2}, .stride = {1, 3}, .padding = {2, 1}}, {2, 2, 10, 2});
  check_sliding({1, 2, 5, 33}, {.kernel_size = {3, 33}, .stride = 1}, {1, 2, 3, 1});
  check_sliding({2, 1, 1, 2}, {.kernel_size = 3, .stride = 1, .padding = 1}, {2, 1, 1, 2});
  check_sliding({2, 2, 5, 6}, {.kernel_size = {2, 5}, .stride = 1},
                {2, 2, 4, 2});  // almost as wide as the map
  check_sliding({40, 8, 20, 22}, {.kernel_size = 2}, {40, 8, 10, 11});
}

TEST_CASE("ops/adaptive_avg_pool2d/check_op") {
  for (const Extent2d size : {Extent2d(1), Extent2d(2), Extent2d(3), Extent2d(6), Extent2d(11, 7),
                              Extent2d(1, 7), Extent2d(11, 1), Extent2d(13, 9)})
    check_adaptive({3, 2, 11, 7}, size);
  check_adaptive({1, 1, 1, 1}, 1);
  check_adaptive({1, 3, 1, 1}, 2);
  check_adaptive({5, 1, 56, 57}, 1);
  check_adaptive({64, 16, 7, 7}, 1);
}

TEST_CASE("ops/adaptive_avg_pool2d/a long f32 mean keeps its digits") {
  // Adding 2^22 times 1.1f one after the other would be off by about 1 %.
  const Tensor x = Tensor::full({1, 1, 2048, 2048}, 1.1);
  CHECK(std::abs(adaptive_avg_pool2d(x, 1).data().item() - double{1.1f}) <= 4 * 1.1 * 0x1p-23);
}

TEST_CASE("ops/avg_pool2d/errors") {
  const Tensor x = random_tensor({3, 2, 5, 4}, 1);
  check_error(
      [&] {
        avg_pool2d(random_tensor({3, 4}, 1), {.kernel_size = 2});
      },
      {"avg_pool2d", "(C, N, H, W)", "(3, 4)"});
  check_error([&] { avg_pool2d(x, {}); }, {"avg_pool2d", "kernel_size", "at least 1"});
  check_error([&] { avg_pool2d(x, {.kernel_size = 2, .stride = {1, -1}}); }, {"stride", "-1", "W"});
  check_error(
      [&] {
        avg_pool2d(x, {.kernel_size = 3, .stride = 1, .padding = {1, 2}});
      },
      {"padding", "[0, 1]", "W", "got 2"});
  check_error([&] { avg_pool2d(x, {.kernel_size = {2, 7}}); }, {"7 along W", "4 pixels"});
  check_error([&] { avg_pool2d(random_tensor({3, 2, 0, 4}, 1), {.kernel_size = 1}); }, {"(3, 2, 0, 4)"});
  check_error([&] { adaptive_avg_pool2d(x, 0); }, {"adaptive_avg_pool2d", "output_size", "0x0"});
}

// The GPU's backward asks for the windows that hold an input; that must be the reverse of asking for a
// window.
TEST_CASE("ops/avg_pool2d/outputs_of reverses window") {
  const auto check_axis = [](const PoolAxis& axis) {
    INFO("in " << axis.in << " out " << axis.out << " kernel " << axis.kernel << " stride " << axis.stride
               << " padding " << axis.padding);
    for (std::int64_t i = 0; i < axis.in; ++i) {
      const PoolWindow outputs = axis.outputs_of(i);
      for (std::int64_t o = 0; o < axis.out; ++o) {
        const PoolWindow window = axis.window(o);
        REQUIRE((window.begin <= i && i < window.end) == (outputs.begin <= o && o < outputs.end));
      }
    }
  };
  for (std::int64_t in = 1; in <= 12; ++in) {
    for (std::int64_t out = 1; out <= 15; ++out) check_axis({.in = in, .out = out});
    for (std::int64_t kernel = 1; kernel <= 7; ++kernel)
      for (std::int64_t stride = 1; stride <= 8; ++stride)
        for (std::int64_t padding = 0; padding <= kernel / 2; ++padding)
          if (in + 2 * padding >= kernel)
            check_axis({in, (in + 2 * padding - kernel) / stride + 1, kernel, stride, padding});
  }
}
