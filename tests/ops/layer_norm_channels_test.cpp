#include "ops/layer_norm_channels/layer_norm_channels.h"

#include <cmath>

#include "ops/primitives/elementwise.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

namespace {

Values by_definition(const Values& x, const Values& weight, const Values& bias, double eps) {
  const std::size_t channels = weight.size(), pixels = x.size() / channels;
  Values y(x.size());
  for (std::size_t j = 0; j < pixels; ++j) {
    double sum = 0, squares = 0;
    for (std::size_t c = 0; c < channels; ++c) sum += x[c * pixels + j];
    const double mean = sum / static_cast<double>(channels);
    for (std::size_t c = 0; c < channels; ++c)
      squares += (x[c * pixels + j] - mean) * (x[c * pixels + j] - mean);
    const double deviation = std::sqrt(squares / static_cast<double>(channels) + eps);
    for (std::size_t c = 0; c < channels; ++c)
      y[c * pixels + j] = (x[c * pixels + j] - mean) / deviation * weight[c] + bias[c];
  }
  return y;
}

OpCase norm_case(const Shape& shape, double eps = 0.1) {
  const auto terms = static_cast<double>(std::max(shape[0], shape.numel() / shape[0]));
  return {.name = str("layer_norm_channels ", shape, " eps ", eps),
          .inputs = {random_tensor(shape, 1, -1, 3), random_tensor({shape[0]}, 2, 0.5, 1.5),
                     random_tensor({shape[0]}, 3)},
          .op = [=](const auto& in) { return layer_norm_channels(in[0], in[1], in[2], eps); },
          .reference = [=](const auto& in) { return by_definition(in[0], in[1], in[2], eps); },
          .terms = static_cast<double>(shape[0]),
          .gradient_terms = terms,
          .full_precision = {1, 2}};
}

}  // namespace

TEST_CASE("ops/layer_norm_channels/check_op") {
  for (const Shape& shape : {Shape{6, 2, 4, 5}, Shape{1, 1, 1, 1}, Shape{1, 2, 3, 2}, Shape{2, 1, 1, 1},
                             Shape{5, 1, 7, 3}, Shape{64, 1, 8, 16}, Shape{33, 3, 7, 19}})
    check_op(norm_case(shape));
  check_op(norm_case({24, 2, 3, 5}, 1e-6));
}

TEST_CASE("ops/layer_norm_channels/default_eps") {
  const Tensor x = random_tensor({4, 1, 2, 2}, 1, -1e-3, 1e-3), weight = random_tensor({4}, 2),
               bias = random_tensor({4}, 3);
  CHECK(max_difference(layer_norm_channels(x, weight, bias).data().to_vector(),
                       by_definition(x.to_vector(), weight.to_vector(), bias.to_vector(), 1e-6)) <= 1e-12);
}

// Around the block of columns that is normalised together.
TEST_CASE("ops/layer_norm_channels/tails") {
  const Tensor weight = random_tensor({7}, 2), bias = random_tensor({7}, 3);
  for (const std::int64_t n : {1, 2, 3, 15, 16, 17, 31, 33, 126, 127, 128, 129, 130, 255, 256, 257}) {
    const Tensor x = random_tensor({7, 1, 1, n}, static_cast<std::uint64_t>(n), 2, 3);
    const Values exact = by_definition(x.to_vector(), weight.to_vector(), bias.to_vector(), 1e-6);
    INFO("columns " << n);
    CHECK(max_difference(layer_norm_channels(x, weight, bias).data().to_vector(), exact) <= 1e-11);
    const Variable single =
        layer_norm_channels(cast(x, DType::f32), cast(weight, DType::f32), cast(bias, DType::f32));
    CHECK(max_difference(single.data().to_vector(), exact) <= 2e-5);
  }
}

TEST_CASE("ops/layer_norm_channels/large_mean") {
  const Tensor x = cast(random_tensor({512, 1, 3, 5}, 5, 999, 1001), DType::f32);
  const Tensor weight = Tensor::full({512}, 1), bias = Tensor::zeros({512});
  const Values exact = by_definition(x.to_vector(), weight.to_vector(), bias.to_vector(), 1e-6);
  CHECK(max_difference(layer_norm_channels(x, weight, bias).data().to_vector(), exact) <= 1e-3);
}

TEST_CASE("ops/layer_norm_channels/errors") {
  const Tensor x = random_tensor({3, 2, 4, 4}, 1), ones = Tensor::full({3}, 1, DType::f64);
  check_error(
      [&] {
        layer_norm_channels(random_tensor({3, 4}, 1), ones, ones);
      },
      {"layer_norm_channels", "(C, N, H, W)", "(3, 4)"});
  check_error(
      [&] {
        layer_norm_channels(Tensor::zeros({0, 1, 2, 2}), ones, ones);
      },
      {"layer_norm_channels", "C > 0", "(0, 1, 2, 2)"});
  check_error([&] { layer_norm_channels(x, random_tensor({2}, 1), ones); },
              {"layer_norm_channels", "weight", "(3,)", "(2)"});
  check_error([&] { layer_norm_channels(x, ones, cast(ones, DType::f32)); },
              {"layer_norm_channels", "bias", "f64", "f32"});
  check_error([&] { layer_norm_channels(x, ones, ones, -1); }, {"layer_norm_channels", "eps", "-1"});
}
