#include "ops/flatten/flatten.h"

#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

namespace {

Values by_definition(const Values& x, const Shape& s) {
  Values y;
  for (std::int64_t n = 0; n < s[1]; ++n)
    for (std::int64_t c = 0; c < s[0]; ++c)
      for (std::int64_t h = 0; h < s[2]; ++h)
        for (std::int64_t w = 0; w < s[3]; ++w)
          y.push_back(x[static_cast<std::size_t>(((c * s[1] + n) * s[2] + h) * s[3] + w)]);
  return y;
}

}  // namespace

TEST_CASE("ops/flatten/check_op") {
  for (const Shape& shape :
       {Shape{3, 2, 4, 5}, Shape{1, 1, 1, 1}, Shape{1, 4, 3, 2}, Shape{6, 1, 2, 3}, Shape{16, 16, 1, 1},
        Shape{17, 33, 1, 1}, Shape{5, 15, 1, 1}, Shape{640, 130, 1, 1}, Shape{40, 50, 7, 5}}) {
    check_op({.name = str("flatten ", shape),
              .inputs = {random_tensor(shape, 1)},
              .op = [](const auto& in) { return flatten(in[0]); },
              .reference = [&](const auto& in) { return by_definition(in[0], shape); },
              .linear_in = {0}});
    const Shape flat{shape[1], shape[0] * shape[2] * shape[3]};
    CHECK(flatten(random_tensor(shape, 1)).shape() == flat);
  }
}

TEST_CASE("ops/flatten/errors") {
  check_error([] { flatten(random_tensor({3, 4}, 1)); }, {"flatten", "(C, N, H, W)", "(3, 4)"});
}
