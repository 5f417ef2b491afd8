#include "ops/depthwise_conv2d/depthwise_conv2d.h"

#include "ops/primitives/elementwise.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"
#include "tests/support/cuda.h"

using namespace replk;
using namespace replk::test;

namespace {

struct Case {
  Shape x;
  Extent2d kernel;
  DepthwiseConv2dParams params;
  bool bias = false;
};

Shape weight_shape(const Case& c) { return {c.x[0], 1, c.kernel.h, c.kernel.w}; }

// Of the kernels of a GPU, the one to test where the CPU runs c.params.kernel: so that all that apply have
// their turn.
DepthwiseKernel on_gpu(const Case& c, DType dtype) {
  const DepthwiseKernel on_cpu = c.params.kernel;
  if (on_cpu == DepthwiseKernel::naive || on_cpu == DepthwiseKernel::automatic) return on_cpu;
  if constexpr (kHasCuda) {
    const Tensor x = Tensor::empty(c.x), weight = Tensor::empty(weight_shape(c));
    const auto g = DepthwiseConv2dGeometry::of(x, weight, {}, c.params);
    if (on_cpu == DepthwiseKernel::direct && cuda::direct_applies(g, dtype)) return on_cpu;
    if (on_cpu == DepthwiseKernel::fft && cuda::fft_applies(g, dtype)) return on_cpu;
    if (cuda::tensor_core_applies(g, dtype)) return DepthwiseKernel::tensor_core;
  }
  return DepthwiseKernel::automatic;
}

// The formula of the header, output by output.
Values by_definition(const Case& c, const std::vector<Values>& in) {
  const Extent2d s = c.params.stride, p = c.params.padding, d = c.params.dilation;
  const std::int64_t H = c.x[2], W = c.x[3];
  const std::int64_t Ho = (H + 2 * p.h - d.h * (c.kernel.h - 1) - 1) / s.h + 1;
  const std::int64_t Wo = (W + 2 * p.w - d.w * (c.kernel.w - 1) - 1) / s.w + 1;
  Values y;
  for (std::int64_t channel = 0; channel < c.x[0]; ++channel)
    for (std::int64_t n = 0; n < c.x[1]; ++n)
      for (std::int64_t i = 0; i < Ho; ++i)
        for (std::int64_t j = 0; j < Wo; ++j) {
          double sum = c.bias ? in[2][channel] : 0;
          for (std::int64_t u = 0; u < c.kernel.h; ++u)
            for (std::int64_t v = 0; v < c.kernel.w; ++v) {
              const std::int64_t h = i * s.h - p.h + u * d.h, w = j * s.w - p.w + v * d.w;
              if (h >= 0 && h < H && w >= 0 && w < W)
                sum += in[1][(channel * c.kernel.h + u) * c.kernel.w + v] *
                       in[0][((channel * c.x[1] + n) * H + h) * W + w];
            }
          y.push_back(sum);
        }
  return y;
}

void check_case(const Case& c) {
  std::vector<Tensor> inputs = {random_tensor(c.x, 1), random_tensor(weight_shape(c), 2)};
  if (c.bias) inputs.push_back(random_tensor({c.x[0]}, 3));
  check_op(
      {.name = str(name_of(c.params.kernel), " x ", c.x, " kernel ", c.kernel, " stride ", c.params.stride,
                   " padding ", c.params.padding, " dilation ", c.params.dilation),
       .inputs = inputs,
       .op =
           [=](const auto& in) {
             DepthwiseConv2dParams params = c.params;
             if (!in[0].data().device().is_cpu()) params.kernel = on_gpu(c, in[0].data().dtype());
             return depthwise_conv2d(in[0], in[1], c.bias ? in[2] : Variable(), params);
           },
       .reference = [=](const auto& in) { return by_definition(c, in); },
       .terms = static_cast<double>(c.kernel.h * c.kernel.w),
       .gradient_terms = static_cast<double>(std::max(c.x[1] * c.x[2] * c.x[3], c.kernel.h * c.kernel.w)),
       .linear_in = c.bias ? std::vector<int>{} : std::vector<int>{0, 1},
       .full_precision = {1, 2}});
}

// Every kernel that applies.
void check_kernels(Case c) {
  for (const DepthwiseKernel kernel :
       {DepthwiseKernel::naive, DepthwiseKernel::direct, DepthwiseKernel::rows, DepthwiseKernel::fft}) {
    const bool dilated = c.params.dilation != Extent2d(1);
    const bool direct_applies =
        !dilated && (c.params.stride == Extent2d(1) || c.params.stride == Extent2d(2));
    const bool rows_applies = direct_applies && (c.kernel == Extent2d(3) || c.kernel == Extent2d(5));
    if (kernel == DepthwiseKernel::direct && !direct_applies) continue;
    if (kernel == DepthwiseKernel::rows && !rows_applies) continue;
    if (kernel == DepthwiseKernel::fft && (c.params.stride != Extent2d(1) || dilated)) continue;
    c.params.kernel = kernel;
    check_case(c);
  }
}

}  // namespace

TEST_CASE("ops/depthwise_conv2d/same_padding") {
  // Kernels below, at and beyond the map; maps around every tile width; batches around every vector length.
  check_kernels({{3, 2, 6, 5}, 3, {.padding = 1}});
  check_kernels({{2, 17, 7, 7}, 13, {.padding = 6}});
  check_kernels({{1, 1, 9, 14}, 5, {.padding = 2}, true});
  check_kernels({{5, 3, 8, 15}, 7, {.padding = 3}});
  check_kernels({{2, 16, 4, 28}, 9, {.padding = 4}, true});
  check_kernels({{33, 1, 5, 3}, 5, {.padding = 2}, true});
  check_kernels({{2, 1, 3, 2}, 31, {.padding = 15}});
  check_kernels({{1, 4, 17, 16}, 21, {.padding = 10}});
  check_kernels({{2, 70, 5, 6}, 7, {.padding = 3}, true});  // more images than a GPU's block takes at once
  check_kernels({{1, 2, 1, 1}, 51, {.padding = 25}, true});
  check_kernels({{2, 9, 1, 40}, {1, 31}, {.padding = {0, 15}}});
  check_kernels({{2, 2, 20, 6}, {51, 5}, {.padding = {25, 2}}});
}

TEST_CASE("ops/depthwise_conv2d/sizes of the networks") {
  // What tensor-core tiles see: several groups of images and of channels, maps of 7 to 56 and wider ones in
  // parts.
  const auto check = [](const Shape& x, Extent2d kernel, Extent2d padding) {
    for (const DepthwiseKernel one :
         {DepthwiseKernel::automatic, DepthwiseKernel::naive, DepthwiseKernel::direct})
      check_case({x, kernel, {.padding = padding, .kernel = one}});
  };
  check({3, 19, 7, 7}, 13, 6);
  check({10, 5, 14, 14}, 27, 13);
  check({2, 9, 28, 28}, 29, 14);
  check({2, 3, 56, 56}, 31, 15);
  check({1, 1, 20, 130}, {7, 31}, {3, 15});
  check({1, 2, 150, 33}, {51, 5}, {25, 2});
  check({2, 3, 24, 60}, 5, 0);
  check({1, 2, 30, 41}, {10, 12}, {9, 3});
}

TEST_CASE("ops/depthwise_conv2d/other_padding") {
  check_kernels({{2, 3, 9, 8}, 1, {}});
  check_kernels({{2, 3, 9, 8}, 4, {.padding = 1}});
  check_kernels({{2, 3, 9, 8}, 6, {.padding = {3, 0}}, true});
  check_kernels({{2, 3, 9, 11}, 5, {}});
  check_kernels(
      {{2, 3, 5, 5}, 3, {.padding = 4}});  // wider than the kernel: its outermost outputs see only zeros
}

TEST_CASE("ops/depthwise_conv2d/stride_and_dilation") {
  check_kernels({{3, 2, 9, 8}, 3, {.stride = 2, .padding = 1}});
  check_kernels({{2, 17, 14, 14}, 3, {.stride = 2, .padding = 1}, true});
  check_kernels({{17, 3, 15, 31}, {7, 5}, {.stride = 2, .padding = {3, 2}}});
  check_kernels({{2, 2, 9, 12}, {1, 2}, {.stride = 2, .padding = {0, 3}}, true});  // some phases have no tap
  check_kernels({{2, 2, 3, 4}, 13, {.stride = 2, .padding = 6}});
  check_kernels({{2, 2, 11, 7}, {5, 7}, {.stride = {3, 2}, .padding = {2, 3}}});
  check_kernels({{2, 2, 11, 12}, 5, {.padding = 6, .dilation = 3}});
  check_kernels({{2, 2, 11, 12}, {3, 4}, {.stride = {1, 2}, .padding = {2, 3}, .dilation = {2, 1}}, true});
  check_kernels({{1, 1, 9, 10}, 2, {.stride = 4, .padding = 0}});  // some inputs are read by no output
}

TEST_CASE("ops/depthwise_conv2d/small kernels") {
  // Around the tiles of 7 and 14 and the blocks of a GPU's direct kernel: planes that share a block, with one
  // channel or several in it, and maps that take several blocks each; even and odd rows.
  for (const std::int64_t stride : {1, 2}) {
    check_kernels({{3, 2, 14, 14}, 3, {.stride = stride, .padding = 1}, true});
    check_kernels({{2, 5, 15, 30}, 3, {.stride = stride, .padding = 1}});
    check_kernels({{1, 2, 40, 58}, 5, {.stride = stride, .padding = 2}, true});
    check_kernels({{2, 1, 29, 28}, 7, {.stride = stride, .padding = 3}});
    check_kernels({{2, 1, 13, 27}, 7, {.stride = stride, .padding = 3}, true});
    check_kernels({{140, 2, 7, 7}, 5, {.stride = stride, .padding = 2}});
    check_kernels({{1, 1, 150, 110}, 3, {.stride = stride, .padding = 1}});
  }
}

TEST_CASE("ops/depthwise_conv2d/small kernels on the tensor cores") {
  // Around lines of 7 and 14 rows, tiles of 16 columns, strips of 14, groups of 8 of either, and chunks of
  // planes.
  const auto check = [](const Shape& x, std::int64_t k, bool bias) {
    check_case({x, k, {.padding = k / 2, .kernel = DepthwiseKernel::fft}, bias});  // on a GPU: tensor_core
  };
  for (const std::int64_t k : {3, 5, 7}) {
    check({1, 9, 14, 14}, k, false);
    check({2, 33, 13, 14}, k, true);
    check({1, 5, 28, 28}, k, false);
    check({1, 2, 56, 56}, k, true);
  }
  for (const std::int64_t k : {3, 5, 7}) {
    check({3, 17, 7, 7}, k, true);  // channels begin at even and at odd places
    check({2, 70, 7, 7}, k, false);
  }
  check({3, 4, 1, 2}, 5, true);
  check({1, 9, 15, 16}, 5, false);
  check({2, 3, 29, 18}, 7, true);
  check({1, 3, 8, 42}, 5, true);
  check({1, 2, 9, 30}, 3, false);
  check({1, 1, 30, 112}, 3, true);
  check({3, 70, 6, 6}, 7, true);
  check({1, 70, 12, 14}, 5, false);
  check({1, 5, 58, 50}, 3, true);
}

TEST_CASE("ops/depthwise_conv2d/narrow maps on the tensor cores") {
  // Up to 14 columns and 16 rows, in groups of 8 and of 16 planes; kernels up to and beyond the map.
  const auto check = [](const Shape& x, Extent2d kernel) {
    const Extent2d padding = {kernel.h / 2, kernel.w / 2};
    check_case({x, kernel, {.padding = padding, .kernel = DepthwiseKernel::fft}});
  };
  check({2, 9, 14, 14}, 27);
  check({1, 33, 16, 14}, 9);
  check({3, 2, 5, 6}, {9, 13});
  check({2, 17, 13, 12}, 31);
  check({1, 70, 9, 2}, {3, 9});
  check({2, 6, 1, 14}, {1, 11});
  check({3, 19, 7, 7}, 13);
  check({2, 67, 5, 3}, {9, 5});
  check({2, 3, 8, 8}, 9);
  check({3, 5, 15, 13}, 9);
  check({1, 3, 9, 7}, {17, 13});
}

TEST_CASE("ops/depthwise_conv2d/small kernels in several chunks to a block") {
  // So many channels that a block takes all planes of one, a few at a time.
  if (!cuda_or_skip("depthwise_conv2d in chunks")) return;
  const Shape shape = {530, 3, 48, 50};
  const auto rounded = [](const Shape& of, std::uint64_t seed) {
    const Tensor full = random_tensor(of, seed, -1, 1, DType::f32);
    return cast(cast(full, DType::bf16), DType::f32);
  };
  const Tensor x = rounded(shape, 1), dy = rounded(shape, 2), weight = rounded({shape[0], 1, 3, 3}, 3);
  const auto run = [&](Device device, DType dtype) {
    Tape tape;
    const Variable in = tape.watch(cast(x, dtype).to(device)), w = tape.watch(weight.to(device));
    const Variable y = depthwise_conv2d(in, w, {}, {.padding = 1});
    tape.backward(y, cast(dy, dtype).to(device));
    return std::vector<Values>{y.data().to_vector(), tape.gradient(in).to_vector(),
                               tape.gradient(w).to_vector()};
  };
  const auto on_cpu = run(Device::cpu(), DType::f32), on_gpu = run(Device::cuda(), DType::bf16);
  CHECK(run(Device::cuda(), DType::bf16) == on_gpu);
  for (std::size_t i = 0; i < on_cpu.size(); ++i) {
    INFO("result " << i);
    const double bound = i < 2 ? 1.0 / 256 : 1e-5;  // bf16, f32
    CHECK(max_difference(on_gpu[i], on_cpu[i]) <= bound * max_magnitude(on_cpu[i]));
  }
}

TEST_CASE("ops/depthwise_conv2d/a map that shrinks") {
  // Many images of a map much larger than its output, of which a GPU's block must not take too many channels.
  check_case({{6, 64, 14, 14}, 13, {}});
  check_case({{8, 40, 13, 13}, 11, {}});
  check_case({{2, 3, 2, 2}, 3, {.padding = 6}});
}

TEST_CASE("ops/depthwise_conv2d/nothing to do") {
  for (const Shape& shape : {Shape{4, 0, 8, 8}, Shape{0, 2, 8, 8}})
    for (const Device device : {Device::cpu(), Device::cuda()}) {
      if (!device.is_cpu() && !cuda_or_skip("an empty depthwise_conv2d")) continue;
      INFO(shape << " on " << device);
      const Tensor weight = Tensor::full({shape[0], 1, 3, 3}, 1, DType::f32, device);
      Tape tape;
      const Variable x = tape.watch(Tensor::zeros(shape, DType::f32, device)), w = tape.watch(weight);
      const Variable y = depthwise_conv2d(x, w, {}, {.padding = 1});
      CHECK(y.data().shape() == shape);
      tape.backward(y, Tensor::zeros(shape, DType::f32, device));
      CHECK(tape.gradient(x).shape() == shape);
      CHECK(tape.gradient(w).to_vector() == Values(static_cast<std::size_t>(weight.numel()), 0.0));
    }
}

TEST_CASE("ops/depthwise_conv2d/errors") {
  const Tensor x = random_tensor({4, 2, 8, 8}, 1), w = random_tensor({4, 1, 3, 3}, 2);
  check_error(
      [&] {
        depthwise_conv2d(x, random_tensor({3, 1, 3, 3}, 2));
      },
      {"depthwise_conv2d", "(4, 1, Kh, Kw)", "(3, 1, 3, 3)"});
  check_error([&] { depthwise_conv2d(random_tensor({4, 8, 8}, 1), w); }, {"(C, N, H, W)", "(4, 8, 8)"});
  check_error(
      [&] {
        depthwise_conv2d(x, random_tensor({4, 1, 11, 11}, 2));
      },
      {"no output", "reaching over 11", "padding 5"});
  check_error([&] { depthwise_conv2d(x, w, {}, {.stride = 0}); }, {"stride >= 1"});
  check_error(
      [&] { depthwise_conv2d(x, w, {}, {.stride = 2, .padding = 1, .kernel = DepthwiseKernel::fft}); },
      {"fft", "stride 1", "2x2"});
  check_error([&] { depthwise_conv2d(x, w, random_tensor({5}, 3)); }, {"bias (4)", "(5)"});
  check_error(
      [&] {
        depthwise_conv2d(x, random_tensor({4, 1, 3, 3}, 2, -1, 1, DType::f32));
      },
      {"one dtype", "f32"});
}
