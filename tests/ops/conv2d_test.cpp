#include "ops/conv2d/conv2d.h"

#include <cmath>

#include "core/profile.h"
#include "ops/activations/activations.h"
#include "ops/primitives/elementwise.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"
#include "tests/support/instruction_sets.h"

using namespace replk;
using namespace replk::test;

namespace {

struct Case {
  Shape x;
  std::int64_t out;
  Extent2d kernel;
  Conv2dParams params = {};
  bool biased = false;
};

// The formula: for every output, every tap of its group's channels that lies inside the map.
Values by_definition(const Case& c, const std::vector<Values>& inputs) {
  const auto in = c.x[0], batch = c.x[1], height = c.x[2], width = c.x[3];
  const auto& p = c.params;
  const std::int64_t group_in = in / p.groups, group_out = c.out / p.groups;
  const std::int64_t out_h =
      (height + 2 * p.padding.h - p.dilation.h * (c.kernel.h - 1) - 1) / p.stride.h + 1;
  const std::int64_t out_w = (width + 2 * p.padding.w - p.dilation.w * (c.kernel.w - 1) - 1) / p.stride.w + 1;
  Values y;
  for (std::int64_t o = 0; o < c.out; ++o)
    for (std::int64_t n = 0; n < batch; ++n)
      for (std::int64_t ho = 0; ho < out_h; ++ho)
        for (std::int64_t wo = 0; wo < out_w; ++wo) {
          double sum = c.biased ? inputs[2][static_cast<std::size_t>(o)] : 0;
          for (std::int64_t ci = 0; ci < group_in; ++ci)
            for (std::int64_t i = 0; i < c.kernel.h; ++i)
              for (std::int64_t j = 0; j < c.kernel.w; ++j) {
                const std::int64_t h = ho * p.stride.h - p.padding.h + i * p.dilation.h;
                const std::int64_t w = wo * p.stride.w - p.padding.w + j * p.dilation.w;
                if (h < 0 || h >= height || w < 0 || w >= width) continue;
                const std::int64_t channel = o / group_out * group_in + ci;
                sum +=
                    inputs[0][static_cast<std::size_t>(((channel * batch + n) * height + h) * width + w)] *
                    inputs[1]
                          [static_cast<std::size_t>(((o * group_in + ci) * c.kernel.h + i) * c.kernel.w + j)];
              }
          y.push_back(p.activation == Activation::relu   ? std::max(sum, 0.0)
                      : p.activation == Activation::gelu ? sum * std::erfc(-sum / std::sqrt(2.0)) / 2
                                                         : sum);
        }
  return y;
}

void check_case(const Case& c) {
  const Shape weight{c.out, c.x[0] / c.params.groups, c.kernel.h, c.kernel.w};
  const Conv2dParams params = c.params;
  OpCase op{.name = str("conv2d x ", c.x, " weight ", weight, " stride ", params.stride, " padding ",
                        params.padding, " dilation ", params.dilation, " groups ", params.groups,
                        c.biased ? " with bias" : ""),
            .inputs = {random_tensor(c.x, 1), random_tensor(weight, 2)},
            .op = [=](const auto& v) { return conv2d(v[0], v[1], v.size() > 2 ? v[2] : Variable(), params); },
            .reference = [=](const auto& v) { return by_definition(c, v); },
            .terms = static_cast<double>(weight.numel() / c.out + 1),
            .gradient_terms = static_cast<double>(std::max(c.x.numel() / c.x[0], weight.numel())),
            .full_precision = {1, 2}};
  if (c.biased)
    op.inputs.push_back(random_tensor({c.out}, 3));
  else
    op.linear_in = {0, 1};
  check_op(op);
}

}  // namespace

TEST_CASE("ops/conv2d/check_op_1x1") {
  for (const bool biased : {false, true}) {
    check_case({{1, 1, 1, 1}, 1, 1, {}, biased});
    check_case({{5, 1, 3, 7}, 4, 1, {}, biased});
    check_case({{7, 3, 5, 4}, 13, 1, {}, biased});
    check_case({{33, 2, 9, 8}, 65, 1, {}, biased});
    check_case({{3, 2, 30, 41}, 2, 1, {}, biased});
  }
}

TEST_CASE("ops/conv2d/check_op_1x1_that_is_no_plain_product") {
  check_case({{4, 2, 5, 6}, 3, 1, {.stride = 2}});
  check_case({{4, 2, 5, 6}, 3, 1, {.padding = 1}, true});
  check_case({{4, 2, 5, 6}, 6, 1, {.groups = 2}});
}

TEST_CASE("ops/conv2d/check_op_kernels") {
  check_case({{3, 2, 6, 5}, 4, 3, {.padding = 1}});
  check_case({{3, 2, 9, 8}, 4, 3, {.stride = 2, .padding = 1}, true});
  check_case({{1, 1, 7, 4}, 1, {3, 2}, {}, true});
  check_case({{2, 3, 8, 11}, 3, {5, 3}, {.padding = {2, 0}}});
  check_case({{2, 2, 10, 9}, 2, 3, {.padding = 2, .dilation = 2}});
  check_case({{2, 1, 11, 13}, 3, {2, 3}, {.stride = {3, 2}, .padding = {1, 4}, .dilation = {2, 3}}, true});
  check_case({{3, 2, 17, 15}, 5, 7, {.stride = 2, .padding = 3}});
}

TEST_CASE("ops/conv2d/check_op_kernel_larger_than_the_map") {
  check_case({{2, 2, 3, 2}, 3, 7, {.padding = 3}, true});
  check_case({{2, 1, 1, 1}, 2, 5, {.padding = 4}});
}

TEST_CASE("ops/conv2d/check_op_groups") {
  check_case({{6, 2, 5, 7}, 4, 3, {.padding = 1, .groups = 2}, true});
  check_case({{5, 2, 6, 4}, 5, 3, {.padding = 1, .groups = 5}, true});
  check_case({{4, 3, 6, 7}, 8, 5, {.stride = 2, .padding = 2, .groups = 4}});
}

TEST_CASE("ops/conv2d/check_op_several_blocks") {
  check_case({{2, 3, 40, 30}, 3, 3, {.padding = 1}, true});  // many columns: parts of the weight gradient
  check_case({{2, 25, 7, 9}, 3, 3, {.padding = 1}});         // a block spans samples
  check_case({{128, 2, 9, 8}, 128, 3, {.padding = 1}});      // one block after another in one part
  check_case({{3, 1, 70, 61}, 2, 4, {.stride = 2, .padding = 1}});  // a sample spans blocks
}

// Against the definition in f64, and bit for bit against the operators one after the other: a product of one
// tile and of several, one whose depth is cut into parts, one with a short last row of tiles, and those that
// are no plain product.
TEST_CASE("ops/conv2d/activation") {
  for_each_instruction_set([] {
    for (Case c : {Case{{1, 1, 1, 1}, 1, 1}, Case{{7, 3, 5, 4}, 13, 1}, Case{{300, 2, 9, 8}, 65, 1},
                   Case{{33, 4, 10, 16}, 400, 1}, Case{{2100, 1, 8, 8}, 24, 1},
                   Case{{6, 2, 5, 7}, 4, 3, {.padding = 1, .groups = 2}}})
      for (const bool biased : {false, true})
        for (const Activation activation : {Activation::relu, Activation::gelu})
          for (const DType dtype : {DType::f32, DType::f64}) {
            INFO(c.x << " to " << c.out << ", " << name_of(activation) << (biased ? " with bias, " : ", ")
                     << dtype);
            c.params.activation = Activation::none;
            c.biased = biased;
            const Tensor x = random_tensor(c.x, 1, -1, 1, dtype),
                         bias = random_tensor({c.out}, 3, -1, 1, dtype);
            const Tensor weight =
                random_tensor({c.out, c.x[0] / c.params.groups, c.kernel.h, c.kernel.w}, 2, -1, 1, dtype);
            const Variable b = biased ? Variable(bias) : Variable();
            const Values apart = activate(conv2d(x, weight, b, c.params), activation).data().to_vector();
            c.params.activation = activation;
            const Values together = conv2d(x, weight, b, c.params).data().to_vector();
            CHECK(together == apart);
            const Values exact = by_definition(c, {x.to_vector(), weight.to_vector(), bias.to_vector()});
            const double eps = dtype == DType::f32 ? 1e-6 : 1e-14;
            CHECK(max_difference(together, exact) <= eps * std::sqrt(static_cast<double>(c.x[0]) * 20));
          }
  });
}

TEST_CASE("ops/conv2d/empty_batch_has_zero_gradients") {
  for (const std::int64_t kernel : {1, 3}) {
    Parameter weight("weight", random_tensor({3, 2, kernel, kernel}, 1)), bias("bias", random_tensor({3}, 2));
    Tape tape;
    const Variable y = conv2d(Tensor::empty({2, 0, 5, 5}, DType::f64), weight, bias);
    tape.backward(y, y.data());
    CHECK(max_magnitude(weight.grad.to_vector()) == 0);
    CHECK(max_magnitude(bias.grad.to_vector()) == 0);
  }
}

TEST_CASE("ops/conv2d/profiles_separate_1x1") {
  Profile::enable(true);
  {
    Parameter weight("weight", random_tensor({3, 2, 1, 1}, 1)), wide("wide", random_tensor({3, 3, 3, 3}, 2));
    Tape tape;
    const Variable y = conv2d(conv2d(random_tensor({2, 1, 4, 4}, 3), weight), wide, {}, {.padding = 1});
    tape.backward(y, y.data());
  }
  const auto entries = Profile::entries();
  Profile::enable(false);
  for (const char* name : {"conv2d", "conv2d_1x1", "conv2d.backward", "conv2d_1x1.backward"}) {
    INFO(name);
    CHECK((entries.contains(name) && entries.at(name).calls == 1));
  }
}

TEST_CASE("ops/conv2d/errors") {
  const Tensor x = random_tensor({4, 2, 5, 6}, 1), weight = random_tensor({6, 4, 3, 3}, 2);
  const auto call = [&](const Tensor& w, Conv2dParams params, const Variable& bias = {}) {
    return [&, w, params, bias] { conv2d(x, w, bias, params); };
  };
  check_error([&] { conv2d(random_tensor({4, 5}, 1), weight); }, {"conv2d", "(in, N, H, W)", "(4, 5)"});
  check_error(call(random_tensor({6, 3, 3, 3}, 2), {}), {"conv2d", "(out, 4 / groups", "(6, 3, 3, 3)"});
  {
    Tape tape;
    check_error(call(weight, {.activation = Activation::gelu}), {"conv2d", "gelu", "tape records"});
  }
  check_error(call(weight, {.groups = 2}), {"conv2d", "groups = 2", "(6, 4, 3, 3)"});
  check_error(call(random_tensor({5, 2, 3, 3}, 2), {.groups = 2}), {"conv2d", "multiples of groups = 2"});
  check_error(call(weight, {.groups = 0}), {"conv2d", "groups = 0"});
  check_error(call(weight, {.stride = {1, 0}}), {"conv2d", "stride", "1x0"});
  check_error(call(weight, {.padding = -1}), {"conv2d", "padding", "-1x-1"});
  check_error(call(weight, {.padding = std::int64_t{1} << 62}), {"conv2d", "padding"});
  check_error(call(weight, {.dilation = 0}), {"conv2d", "dilation", "0x0"});
  check_error(call(weight, {.dilation = {3, 1}}), {"conv2d", "3x3", "does not fit", "5x6", "Pad"});
  check_error(call(random_tensor({6, 4, 3, 3}, 2, -1, 1, DType::f32), {}), {"conv2d", "f64", "f32"});
  check_error(call(weight, {}, random_tensor({4}, 3)), {"conv2d", "bias", "(6)", "(4)"});
}
