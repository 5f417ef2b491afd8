#include "ops/scale_channels/scale_channels.h"

#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

namespace {

Values by_definition(const Values& x, const Values& scale) {
  Values y(x.size());
  const std::size_t columns = x.size() / scale.size();
  for (std::size_t i = 0; i < x.size(); ++i) y[i] = x[i] * scale[i / columns];
  return y;
}

OpCase scale_case(const Shape& shape) {
  return {.name = str("scale_channels ", shape),
          .inputs = {random_tensor(shape, 1), random_tensor({shape[0]}, 2)},
          .op = [](const auto& in) { return scale_channels(in[0], in[1]); },
          .reference = [](const auto& in) { return by_definition(in[0], in[1]); },
          .gradient_terms = static_cast<double>(shape.numel() / shape[0]),
          .linear_in = {0, 1}};
}

}  // namespace

TEST_CASE("ops/scale_channels/check_op") {
  for (const Shape& shape : {Shape{6, 2, 4, 5}, Shape{1, 1, 1, 1}, Shape{1, 3, 7, 5}, Shape{17, 1, 3, 3},
                             Shape{5, 9}, Shape{40, 8, 20, 20}})
    check_op(scale_case(shape));
}

TEST_CASE("ops/scale_channels/errors") {
  const Tensor x = random_tensor({3, 2, 4, 4}, 1);
  check_error([&] { scale_channels(x, random_tensor({2}, 2)); },
              {"scale_channels", "(3,", "(2)", "(C, N, H, W)"});
  check_error([&] { scale_channels(x, random_tensor({3}, 2, -1, 1, DType::f32)); },
              {"scale_channels", "f64", "f32"});
}
