// Times depthwise_conv2d on the GPU over the shapes of RepLKNet-31B (or those given), per pass, beside the
// time that reading and writing the activation once would take at the measured speed of a copy.
//
//   bench_depthwise_cuda [--batch N] [--dtype f32|bf16|f16] [--kernel NAME] [C H W K STRIDE]...
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "ops/depthwise_conv2d/depthwise_conv2d.h"
#include "ops/primitives/elementwise.h"
#include "scripts/bench/depthwise_cases.h"

using namespace replk;

namespace {

// Milliseconds of one call in a row of them: the median of several rows.
double milliseconds(const std::function<void()>& f) {
  using Clock = std::chrono::steady_clock;
  constexpr int kRows = 7, kCalls = 20;
  f();
  synchronize(Device::cuda());
  std::vector<double> times;
  for (int row = 0; row < kRows; ++row) {
    const auto start = Clock::now();
    for (int call = 0; call < kCalls; ++call) f();
    synchronize(Device::cuda());
    times.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count() / kCalls);
  }
  std::nth_element(times.begin(), times.begin() + kRows / 2, times.end());
  return times[kRows / 2];
}

Tensor tensor(const Shape& shape, DType dtype) { return Tensor::full(shape, 0.01, dtype, Device::cuda()); }

double copy_gigabytes() {
  const Tensor from = tensor({1 << 28}, DType::u8);
  Tensor to = tensor({1 << 28}, DType::u8);
  return 2.0 * (1 << 28) / milliseconds([&] { to.copy_from(from); }) / 1e6;
}

}  // namespace

int main(int argc, char** argv) try {
  std::int64_t batch = 64;
  DType dtype = DType::bf16;
  DepthwiseKernel kernel = DepthwiseKernel::automatic;
  std::vector<std::int64_t> numbers;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i], next = i + 1 < argc ? argv[i + 1] : "";
    if (word == "--batch") {
      batch = std::atoll(argv[++i]);
    } else if (word == "--dtype") {
      dtype = next == "f32" ? DType::f32 : next == "f16" ? DType::f16 : DType::bf16, ++i;
    } else if (word == "--kernel") {
      kernel = kernel_named(next), ++i;
    } else {
      numbers.push_back(std::atoll(word.c_str()));
    }
  }
  if (numbers.empty())
    for (const std::int64_t k : {31, 3, 5, 7, 9, 13})
      for (const std::int64_t c : {128, 256, 512, 1024}) {
        const std::int64_t side = 7168 / c, full = c == 256 ? 29 : c == 512 ? 27 : c == 1024 ? 13 : 31;
        numbers.insert(numbers.end(), {c, side, side, k == 31 ? full : k, 1});
      }
  const double copy = copy_gigabytes();
  std::printf(
      "%s, copy %.0f GB/s; ms forward, input gradient, weight gradient (TFLOP/s of taps inside the image, "
      "GB/s "
      "of reading and writing the activation once, percent of that copy's speed)\n",
      str(dtype).c_str(), copy);
  for (std::size_t i = 0; i + 5 <= numbers.size(); i += 5) {
    const std::int64_t c = numbers[i], h = numbers[i + 1], w = numbers[i + 2], k = numbers[i + 3],
                       s = numbers[i + 4];
    const Tensor x = tensor({c, batch, h, w}, dtype), weight = tensor({c, 1, k, k}, DType::f32);
    const auto g =
        DepthwiseConv2dGeometry::of(x, weight, {}, {.stride = s, .padding = k / 2, .kernel = kernel});
    Tensor y = tensor(g.output_shape(), dtype), dx = tensor(x.shape(), dtype),
           dw = tensor(weight.shape(), DType::f32);
    if constexpr (kHasCuda) {
      const Tensor taps = cast(weight, dtype);
      const double flops = flops_inside(g);
      const double floor = static_cast<double>(x.bytes() + y.bytes()) / copy / 1e6;
      const double times[] = {milliseconds([&] { cuda::depthwise_conv2d_forward(g, x, taps, {}, y); }),
                              milliseconds([&] { cuda::depthwise_conv2d_backward_input(g, taps, y, {dx}); }),
                              milliseconds([&] { cuda::depthwise_conv2d_backward_weight(g, x, y, {dw}); })};
      std::printf("%5ld x %3ldx%-3ld K %2ld s%ld batch %3ld %-11s floor %.4f  ", c, h, w, k, s, batch,
                  name_of(cuda::choose_depthwise_kernel(g, dtype)), floor);
      for (const double ms : times)
        std::printf(" %8.4f ms (%5.1f, %4.0f, %2.0f%%)", ms, flops / ms / 1e9, copy * floor / ms,
                    100 * floor / ms);
      std::printf("\n");
    }
  }
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "bench_depthwise_cuda: %s\n", e.what());
  return 2;
}
