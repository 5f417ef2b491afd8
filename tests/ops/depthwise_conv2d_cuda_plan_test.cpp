// Which sizes the tuned kernels of a GPU take: host code alone, so a predicate that shrinks shows here
// although every other test would then pass with the naive kernel. And what tensor_core computes on wide maps
// with large kernels, and where lines of a map are shorter than what is read of them, on a GPU where there is
// one.
#include "ops/depthwise_conv2d/cuda_plan.h"

#include <limits>

#include "ops/primitives/elementwise.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"
#include "tests/support/cuda.h"

using namespace replk;
using namespace replk::test;

namespace {

DepthwiseConv2dGeometry geometry(Extent2d map, std::int64_t kernel, std::int64_t stride = 1,
                                 std::int64_t batch = 4, std::int64_t channels = 2) {
  return DepthwiseConv2dGeometry::of(Tensor::empty({channels, batch, map.h, map.w}),
                                     Tensor::empty({channels, 1, kernel, kernel}), {},
                                     {.stride = stride, .padding = kernel / 2});
}

// Of the paper's networks at 224 pixels and at 384, of the small ones, and of dense predictions.
const std::vector<Extent2d> kMaps = {7, 12, 14, 24, 28, 48, 56, 64, 96, 112, 128, {128, 256}, 192};

}  // namespace

TEST_CASE("ops/depthwise_conv2d/cuda/sizes of the direct kernel") {
  if constexpr (kHasCuda) {
    for (const Extent2d map : kMaps)
      for (const std::int64_t kernel : {3, 5, 7})
        for (const std::int64_t stride : {1, 2})
          for (const std::int64_t batch : {1, 128}) {
            INFO(kernel << " stride " << stride << " at " << map << ", batch " << batch);
            const auto g = geometry(map, kernel, stride, batch);
            CHECK(cuda::direct_applies(g, DType::f32));
            CHECK(cuda::direct_applies(g, DType::bf16));
            CHECK_FALSE(cuda::direct_applies(g, DType::f16));
            CHECK_FALSE(cuda::direct_applies(g, DType::f64));
          }
    CHECK_FALSE(cuda::direct_applies(geometry(56, 9), DType::f32));
    CHECK_FALSE(cuda::direct_applies(geometry(56, 3, 3), DType::f32));
  }
}

TEST_CASE("ops/depthwise_conv2d/cuda/sizes of the tensor-core kernel") {
  if constexpr (kHasCuda) {
    for (const Extent2d map : kMaps)
      for (std::int64_t kernel = 3; kernel <= 65; ++kernel)
        for (const std::int64_t batch : {1, 4, 128}) {
          INFO(kernel << " at " << map << ", batch " << batch);
          const auto g = geometry(map, kernel, 1, batch);
          CHECK(cuda::tensor_core_applies(g, DType::bf16));
          CHECK(cuda::tensor_core_applies(g, DType::f16));
          // Rows of a kernel of 65 in f32 and a part of a wide map exceed shared memory.
          CHECK(cuda::tensor_core_applies(g, DType::f32) == (kernel < 64 || map.w <= 64));
          CHECK_FALSE(cuda::tensor_core_applies(g, DType::f64));
        }
    CHECK_FALSE(cuda::tensor_core_applies(geometry(56, 67), DType::bf16));
    CHECK_FALSE(cuda::tensor_core_applies(geometry(56, 13, 2), DType::bf16));
  }
}

namespace {

struct Passes {
  Tensor y, dx, dweight;
};

Passes run(const Tensor& x, const Tensor& weight, const Tensor& dy, DepthwiseConv2dParams params) {
  Tape tape;
  const Variable in = tape.watch(x), taps = tape.watch(weight);
  const Variable y = depthwise_conv2d(in, taps, {}, params);
  tape.backward(y, dy);
  return {y.data(), tape.gradient(in), tape.gradient(taps)};
}

// Relative to the largest value; `eps` of the elements, as check_op has it.
void check_close(const char* what, const Tensor& got, const Tensor& expected, double terms, double eps) {
  INFO(what);
  const Values reference = expected.to_vector();
  const double f32 = std::numeric_limits<float>::epsilon();
  CHECK(max_difference(got.to_vector(), reference) <=
        max_magnitude(reference) * (eps + f32 * (8 + 4 * std::sqrt(terms))));
}

// tensor_core on a GPU against direct on the CPU, from the same rounded numbers.
void check_tensor_core(const Shape& shape, std::int64_t kernel, std::int64_t padding) {
  const std::int64_t shrink = kernel - 1 - 2 * padding;
  const Shape out = {shape[0], shape[1], shape[2] - shrink, shape[3] - shrink};
  for (const DType dtype : {DType::f32, DType::bf16}) {
    INFO(shape << " kernel " << kernel << " padding " << padding << " in " << dtype);
    const auto rounded = [&](const Shape& of, std::uint64_t seed) {
      return cast(cast(random_tensor(of, seed, -1, 1, DType::f32), dtype), DType::f32);
    };
    const Tensor x = rounded(shape, 1), weight = rounded({shape[0], 1, kernel, kernel}, 2),
                 dy = rounded(out, 3);
    const auto there = [](const Tensor& t) { return t.to(Device::cuda()); };
    const Passes gpu = run(cast(there(x), dtype), there(weight), cast(there(dy), dtype),
                           {.padding = padding, .kernel = DepthwiseKernel::tensor_core});
    const Passes cpu = run(x, weight, dy, {.padding = padding, .kernel = DepthwiseKernel::direct});
    const double taps = static_cast<double>(kernel * kernel), pixels = static_cast<double>(out.numel());
    const double eps = dtype == DType::bf16 ? 1.0 / 256 : 0;  // of what is stored
    check_close("y", gpu.y, cpu.y, taps, eps);
    check_close("dx", gpu.dx, cpu.dx, taps, eps);
    check_close("dweight", gpu.dweight, cpu.dweight, pixels, 0);
  }
}

}  // namespace

TEST_CASE("ops/depthwise_conv2d/cuda/lines as long as what is read of them") {
  if (!cuda_or_skip("weight gradients of tensor_core")) return;
  if constexpr (kHasCuda) {
    // More columns in registers than the map has, and taps that would meet what lies beyond.
    check_tensor_core({1, 1, 48, 48}, 29, 14);  // RepLKNet-31B at 384 pixels
    check_tensor_core({2, 3, 33, 47}, 21, 10);
    check_tensor_core({2, 1, 30, 70}, 13, 6);
    check_tensor_core({1, 1, 26, 112}, 25, 12);
    check_tensor_core({1, 1, 40, 64}, 45, 22);
    check_tensor_core({1, 2, 60, 57}, 55, 27);
    // Maps that shrink, and one that grows.
    check_tensor_core({2, 3, 30, 30}, 21, 0);
    check_tensor_core({1, 2, 52, 50}, 41, 0);
    check_tensor_core({1, 1, 70, 72}, 63, 0);
    check_tensor_core({2, 2, 12, 14}, 9, 8);
  }
}

TEST_CASE("ops/depthwise_conv2d/cuda/wide maps and large kernels") {
  if (!cuda_or_skip("depth-wise convolutions of wide maps")) return;
  if constexpr (kHasCuda) {
    // In parts of 56 columns and, where the rows of the kernel leave no room for those, of 32.
    CHECK(cuda::CorrelationPlan(geometry({128, 256}, 31, 1, 1), false, 4).part_columns == 56);
    CHECK(cuda::CorrelationPlan(geometry({80, 100}, 51, 1, 2), false, 4).part_columns == 32);
    CHECK(cuda::CorrelationPlan(geometry({80, 100}, 51, 1, 2), true, 4).part_columns == 32);
    check_tensor_core({1, 1, 128, 256}, 31, 15);
    check_tensor_core({1, 2, 80, 100}, 51, 25);
    check_tensor_core({1, 1, 70, 61}, 63, 31);
  }
}
