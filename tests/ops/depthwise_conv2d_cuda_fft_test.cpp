// The FFT kernel of a GPU, forced, against the CPU in f64: around every length of its transforms.
#include <cmath>
#include <limits>

#include "core/dispatch.h"
#include "ops/depthwise_conv2d/depthwise_conv2d.h"
#include "ops/primitives/elementwise.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"
#include "tests/support/cuda.h"

using namespace replk;
using namespace replk::test;

namespace {

struct Case {
  std::int64_t channels, batch;
  Extent2d map, kernel, padding;
};

// In f32, of what `dtype` can hold.
Tensor values(const Shape& shape, std::uint64_t seed, DType dtype = DType::f32) {
  return cast(random_tensor(shape, seed, -1, 1, dtype), DType::f32);
}
Tensor in_f64(const Tensor& t) { return cast(t, DType::f64); }

// f32 arithmetic on lines of at most 72 points: an error of a few units in the last place of the largest. A
// result in bf16 is rounded once more.
void check_near(const char* what, const Tensor& got, const Values& expected, double largest) {
  const double error = max_difference(got.to_vector(), expected);
  INFO(what << ": error " << error / largest << " of the largest");
  const double rounding = got.dtype() == DType::bf16 ? 0x1p-8 : 0;
  CHECK(error <= (8 * std::numeric_limits<float>::epsilon() + rounding) * largest);
}

void check_case(const Case& c, DType dtype) {
  INFO(dtype << ": channels " << c.channels << " batch " << c.batch << " map " << c.map << " kernel "
             << c.kernel << " padding " << c.padding);
  const Tensor x = values({c.channels, c.batch, c.map.h, c.map.w}, 1, dtype),
               weight = values({c.channels, 1, c.kernel.h, c.kernel.w}, 2, dtype),
               bias = values({c.channels}, 3);
  auto g = DepthwiseConv2dGeometry::of(x, weight, bias, {.padding = c.padding});
  const Tensor dy = values(g.output_shape(), 4, dtype);
  const Tensor start_dx = values(x.shape(), 5, dtype), start_dw = values(weight.shape(), 6);

  // The CPU's kernels agree with the formula (depthwise_conv2d_test.cpp).
  Tensor y64 = Tensor::empty(dy.shape(), DType::f64), dx64 = Tensor::empty(x.shape(), DType::f64),
         dw64 = Tensor::empty(weight.shape(), DType::f64);
  cpu::depthwise_conv2d_forward(g, in_f64(x), in_f64(weight), {}, y64);
  cpu::depthwise_conv2d_backward_input(g, in_f64(weight), in_f64(dy), {dx64, false});
  cpu::depthwise_conv2d_backward_weight(g, in_f64(x), in_f64(dy), {dw64, false});
  const auto plus = [](const Tensor& a, const Tensor& b) {
    Values sum = a.to_vector(), other = b.to_vector();
    const std::size_t repeats = sum.size() / other.size();  // of each element of b: a bias
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += other[i / repeats];
    return sum;
  };

  if constexpr (kHasCuda) {
    g.forced = DepthwiseKernel::fft;
    const Device gpu = Device::cuda();
    REQUIRE(cuda::fft_applies(g, dtype));
    const auto on_gpu = [&](const Tensor& t) { return cast(t, dtype).to(gpu); };
    const Tensor x_gpu = on_gpu(x), weight_gpu = on_gpu(weight), dy_gpu = on_gpu(dy);
    // Where a kernel leaves out an element it stays NaN.
    const auto unwritten = [&](const Tensor& like, DType type) {
      return Tensor::full(like.shape(), std::numeric_limits<double>::quiet_NaN(), type, gpu);
    };
    const double y_largest = max_magnitude(y64.to_vector()), dx_largest = max_magnitude(dx64.to_vector()),
                 dw_largest = max_magnitude(dw64.to_vector());
    for (const bool biased : {false, true}) {
      Tensor y = unwritten(dy, dtype);
      cuda::depthwise_conv2d_forward(g, x_gpu, weight_gpu, biased ? bias.to(gpu) : Tensor(), y);
      check_near("y", y, biased ? plus(y64, bias) : y64.to_vector(), std::max(y_largest, 1.0));
    }
    for (const bool accumulate : {false, true}) {
      const GradTarget dx{accumulate ? on_gpu(start_dx) : unwritten(x, dtype), accumulate};
      const GradTarget dw{accumulate ? start_dw.to(gpu) : unwritten(weight, DType::f32), accumulate};
      cuda::depthwise_conv2d_backward_input(g, weight_gpu, dy_gpu, dx);
      cuda::depthwise_conv2d_backward_weight(g, x_gpu, dy_gpu, dw);
      check_near("dx", dx.tensor, accumulate ? plus(dx64, start_dx) : dx64.to_vector(),
                 std::max(dx_largest, 1.0));
      check_near("dweight", dw.tensor, accumulate ? plus(dw64, start_dw) : dw64.to_vector(),
                 std::max(dw_largest, 1.0));
    }
  }
}

void check_case(const Case& c) {
  for (const DType dtype : {DType::f32, DType::bf16}) check_case(c, dtype);
}

}  // namespace

TEST_CASE("ops/depthwise_conv2d/cuda_fft/around every length") {
  if (!cuda_or_skip("the FFT kernel of depthwise_conv2d")) return;
  // A map of h pixels and a kernel of 2 p + 1 take h + p points: for each length those that fill it, leave
  // one point, and need one more (which takes the next length).
  for (const std::int64_t length : {20, 28, 36, 42, 56, 63, 72})
    for (const std::int64_t missing : {0, 1, -1}) {
      const std::int64_t points = length - missing;
      if (points > 72) continue;
      const std::int64_t p = points / 4, side = points - p;
      check_case({2, 3, side, 2 * p + 1, p}, DType::f32);
      check_case({1, 2, {side, side / 3}, {2 * p + 1, 3}, {p, 1}});
      check_case({3, 1, {side / 2, side}, {5, 2 * p + 1}, {2, p}}, DType::f32);
    }
}

TEST_CASE("ops/depthwise_conv2d/cuda_fft/sizes of the networks") {
  if (!cuda_or_skip("the FFT kernel of depthwise_conv2d")) return;
  for (const std::int64_t batch : {1, 2, 3, 8}) {
    check_case({2, batch, 56, 31, 15});
    check_case({3, batch, 28, 29, 14});
    check_case({5, batch, 14, 27, 13});
    check_case({3, batch, 7, 13, 6});
    check_case({2, batch, 56, 5, 2});
  }
}

TEST_CASE("ops/depthwise_conv2d/cuda_fft/other kernels and padding") {
  if (!cuda_or_skip("the FFT kernel of depthwise_conv2d")) return;
  check_case({1, 1, 1, 1, 0});
  check_case({1, 3, 1, 51, 25});  // much larger than the map
  check_case({2, 5, {3, 2}, 31, 15});
  check_case({2, 3, {9, 20}, {2, 8}, {1, 3}});  // even
  check_case({2, 3, {40, 13}, {10, 12}, {9, 3}});
  check_case({2, 3, {60, 24}, 5, 0});
  check_case({2, 3, {17, 19}, {17, 19}, 0});  // one output
  check_case({2, 3, {9, 8}, {6, 4}, {3, 0}});
  check_case({2, 3, 5, 3, 4});  // padding beyond the kernel: outermost outputs see only zeros
  check_case({1, 2, 2, 3, 30});
  check_case({1, 1, {72, 3}, {1, 3}, {0, 1}});
}

TEST_CASE("ops/depthwise_conv2d/cuda_fft/shares of the samples") {
  if (!cuda_or_skip("the FFT kernel of depthwise_conv2d")) return;
  // More channels than a GPU has room for at once, so that a block sums the products of several pairs; the
  // pairs of a channel do not divide evenly.
  check_case({300, 5, {40, 4}, {63, 3}, {31, 1}}, DType::f32);
  check_case({700, 9, 6, 9, 4});
  check_case({1700, 5, {14, 3}, {27, 1}, {13, 0}}, DType::f32);
}

TEST_CASE("ops/depthwise_conv2d/cuda_fft/what is not finite stays in its pair of planes") {
  if (!cuda_or_skip("the FFT kernel of depthwise_conv2d")) return;
  constexpr std::int64_t kChannels = 3, kBatch = 5, kPlane = 14 * 14;
  Tensor x = values({kChannels, kBatch, 14, 14}, 1);
  const std::int64_t plane = 1 * kBatch + 3;  // channel 1, sample 3: of pair 1
  x.data<float>()[plane * kPlane + 50] = std::numeric_limits<float>::infinity();
  const Tensor weight = values({kChannels, 1, 9, 9}, 2);
  const Tensor y = depthwise_conv2d(x.to(Device::cuda()), weight.to(Device::cuda()), {},
                                    {.padding = 4, .kernel = DepthwiseKernel::fft})
                       .data();
  const Values got = y.to_vector();
  for (std::int64_t i = 0; i < kChannels * kBatch; ++i) {
    INFO("plane " << i);
    const bool spoilt = i / kBatch == 1 && (i % kBatch == 2 || i % kBatch == 3);
    for (std::int64_t j = 0; j < kPlane; ++j) REQUIRE(std::isfinite(got[i * kPlane + j]) == !spoilt);
  }
}

TEST_CASE("ops/depthwise_conv2d/cuda_fft/prepared spectra follow the weight and the sizes") {
  if (!cuda_or_skip("the FFT kernel of depthwise_conv2d")) return;
  const Device gpu = Device::cuda();
  Prepared prepared;
  Tensor weight = values({5, 1, 5, 5}, 1).to(gpu);
  const auto check = [&](const Device device, Extent2d map, Extent2d padding) {
    INFO("on " << device << " map " << map << " padding " << padding);
    const Tensor x = values({5, 3, map.h, map.w}, 2).to(device), w = weight.to(device);
    DepthwiseConv2dParams params{.padding = padding, .kernel = DepthwiseKernel::fft};
    const Values fresh = depthwise_conv2d(x, w, {}, params).data().to_vector();
    params.prepared = &prepared;
    for (int i = 0; i < 2; ++i) {
      Tape tape;
      const Variable input = tape.watch(x), y = depthwise_conv2d(input, w, {}, params);
      CHECK(y.data().to_vector() == fresh);
    }
  };
  check(gpu, 10, 2);
  weight.copy_from(values({5, 1, 5, 5}, 3).to(gpu));
  check(gpu, 10, 2);
  check(gpu, {10, 12}, {2, 1});  // transforms of the same length for another padding
  check(gpu, {10, 12}, {1, 2});
  check(gpu, 30, 2);
  check(Device::cpu(), 30, 2);  // a layer that changes its device
  check(gpu, 30, 2);
}

TEST_CASE("ops/depthwise_conv2d/cuda_fft/where it applies and runs") {
  if constexpr (kHasCuda) {
    const auto geometry = [](Extent2d map, Extent2d kernel, DepthwiseConv2dParams params = {}) {
      return DepthwiseConv2dGeometry::of(Tensor::empty({2, 3, map.h, map.w}, DType::f32),
                                         Tensor::empty({2, 1, kernel.h, kernel.w}, DType::f32), {}, params);
    };
    const auto applies = [](const DepthwiseConv2dGeometry& g, DType dtype = DType::f32) {
      return cuda::fft_applies(g, dtype);
    };
    const auto large = geometry(56, 31, {.padding = 15});
    CHECK(applies(large));
    CHECK(applies(large, DType::bf16));
    for (const DType dtype : {DType::f64, DType::f16}) CHECK_FALSE(applies(large, dtype));
    CHECK(applies(geometry(57, 31, {.padding = 15})));  // 72 points
    CHECK_FALSE(applies(geometry(58, 31, {.padding = 15})));
    CHECK_FALSE(applies(geometry({8, 58}, {3, 31}, {.padding = {1, 15}})));
    CHECK_FALSE(applies(geometry(56, 31, {.stride = 2, .padding = 15})));
    CHECK_FALSE(applies(geometry(56, 31, {.padding = 30, .dilation = 2})));

    using enum DepthwiseKernel;
    const auto chosen = [](const DepthwiseConv2dGeometry& g, DType dtype = DType::f32) {
      return cuda::choose_depthwise_kernel(g, dtype);
    };
    CHECK(chosen(large) == fft);
    CHECK(chosen(large, DType::bf16) == tensor_core);
    CHECK(chosen(large, DType::f64) == naive);
    CHECK(chosen(geometry(28, 29, {.padding = 14})) == fft);
    CHECK(chosen(geometry(14, 27, {.padding = 13})) == fft);
    CHECK(chosen(geometry(7, 13, {.padding = 6})) == tensor_core);
    CHECK(chosen(geometry(58, 31, {.padding = 15})) == tensor_core);
    CHECK(chosen(geometry(16, 31, {.padding = 15})) == fft);
    CHECK(chosen(geometry(8, 9, {.padding = 4})) == tensor_core);  // most of 20 x 20 points would be empty
    CHECK(chosen(geometry({9, 40}, {1, 31}, {.padding = {0, 15}})) == tensor_core);
    CHECK(chosen(geometry(32, 9, {.padding = 4})) == fft);
    CHECK(chosen(geometry(56, 3, {.padding = 1})) == direct);
    CHECK(chosen(geometry(56, 5, {.padding = 2})) == direct);
    struct Restore {
      ~Restore() { set_default_depthwise_kernel(automatic); }
    } restore;
    for (const DepthwiseKernel preferred : {naive, direct, fft, tensor_core}) {
      set_default_depthwise_kernel(preferred);
      CHECK(chosen(geometry(56, 5, {.padding = 2})) == preferred);
      CHECK(chosen(geometry(56, 31, {.padding = 15, .kernel = fft})) == fft);
    }
    set_default_depthwise_kernel(fft);  // where it does not apply the fastest of the others runs
    CHECK(chosen(large, DType::f16) == tensor_core);
    CHECK(chosen(geometry(56, 3, {.stride = 2, .padding = 1})) == direct);
  }
}

TEST_CASE("ops/depthwise_conv2d/cuda_fft/errors") {
  if (!cuda_or_skip("the FFT kernel of depthwise_conv2d")) return;
  const auto call = [](DType dtype, Extent2d map, DepthwiseConv2dParams params) {
    params.kernel = DepthwiseKernel::fft;
    depthwise_conv2d(Tensor::zeros({2, 2, map.h, map.w}, dtype, Device::cuda()),
                     Tensor::zeros({2, 1, 31, 31}, DType::f32, Device::cuda()), {}, params);
  };
  check_error([&] { call(DType::f16, 14, {.padding = 15}); }, {"fft", "needs f32 or bf16", "got f16"});
  check_error([&] { call(DType::f32, 58, {.padding = 15}); }, {"fft", "72 points", "58"});
  check_error([&] { call(DType::f32, 14, {.stride = 2, .padding = 15}); }, {"fft", "stride 1", "2x2"});
}
