// Times depthwise_conv2d over the shapes of RepLKNet-31B (or those given) and prints, per pass, milliseconds
// and GFLOP/s counting only taps inside the image, beside what this machine can do at most.
//
//   depthwise_bench [--threads T] [--batch N] [--kernel fft|direct|rows|naive] [C H W K]...
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "core/parallel.h"
#include "ops/depthwise_conv2d/depthwise_conv2d.h"
#include "scripts/bench/depthwise_cases.h"

using namespace replk;

namespace {

double median_ms(const std::function<void()>& f) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> times;
  double total = 0;
  f();
  while (times.size() < 5 || (total < 300 && times.size() < 200)) {
    const auto start = Clock::now();
    f();
    times.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
    total += times.back();
  }
  std::nth_element(times.begin(), times.begin() + static_cast<long>(times.size() / 2), times.end());
  return times[times.size() / 2];
}

void bench(std::int64_t batch, std::int64_t channels, std::int64_t h, std::int64_t w, std::int64_t k,
           DepthwiseKernel kernel) {
  Prepared prepared;
  const Tensor x = Tensor::full({channels, batch, h, w}, 0.5),
               weight = Tensor::full({channels, 1, k, k}, 0.25);
  const auto g =
      DepthwiseConv2dGeometry::of(x, weight, {}, {.padding = k / 2, .kernel = kernel, .prepared = &prepared});
  Tensor y = Tensor::zeros(g.output_shape()), dx = Tensor::zeros(x.shape()),
         dw = Tensor::zeros(weight.shape());
  const double flops = flops_inside(g);
  const double forward = median_ms([&] { cpu::depthwise_conv2d_forward(g, x, weight, {}, y); });
  const double input = median_ms([&] { cpu::depthwise_conv2d_backward_input(g, weight, y, {dx}); });
  const double weights = median_ms([&] { cpu::depthwise_conv2d_backward_weight(g, x, y, {dw}); });
  const double both = median_ms([&] { cpu::depthwise_conv2d_backward(g, x, weight, y, {dx}, {dw}); });
  const auto kernel_of = [&](DepthwisePass pass) { return name_of(choose_depthwise_kernel(g, pass)); };
  std::printf(
      "%5ld x %3ldx%-3ld K %2ld  batch %3ld  %-6s %-6s %-6s %9.3f %9.3f %9.3f %9.3f ms   %7.1f %7.1f %7.1f "
      "GFLOP/s\n",
      channels, h, w, k, batch, kernel_of(DepthwisePass::forward), kernel_of(DepthwisePass::backward_input),
      kernel_of(DepthwisePass::backward_weight), forward, input, weights, both, flops / forward / 1e6,
      flops / input / 1e6, flops / weights / 1e6);
}

}  // namespace

int main(int argc, char** argv) {
  std::int64_t batch = 8;
  DepthwiseKernel kernel = DepthwiseKernel::automatic;
  std::vector<std::int64_t> numbers;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--threads" && i + 1 < argc)
      set_num_threads(std::atoi(argv[++i]));
    else if (word == "--batch" && i + 1 < argc)
      batch = std::atoll(argv[++i]);
    else if (word == "--kernel" && i + 1 < argc)
      kernel = kernel_named(argv[++i]);
    else
      numbers.push_back(std::atoll(word.c_str()));
  }
  if (numbers.empty())
    numbers = {128, 56, 56, 31, 256, 28, 28, 29, 512, 14, 14, 27, 1024, 7, 7, 13,
               128, 56, 56, 5,  256, 28, 28, 5,  512, 14, 14, 5,  1024, 7, 7, 5};
  std::printf("%d threads; forward, input gradient, weight gradient, both gradients\n", num_threads());
  for (std::size_t i = 0; i + 4 <= numbers.size(); i += 4)
    bench(batch, numbers[i], numbers[i + 1], numbers[i + 2], numbers[i + 3], kernel);
  return 0;
}
