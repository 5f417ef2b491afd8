// Which kernel runs: the one asked for, or by a model of the cycles that each takes, fitted to measurements
// (README.md has them).
#include <algorithm>
#include <atomic>
#include <cmath>

#include "ops/depthwise_conv2d/correlation.h"
#include "ops/depthwise_conv2d/fft_length.h"

namespace replk {
namespace {

using cpu::FftLength;
using cpu::FftShape;

// Both count cycles for as many planes as a vector has lanes, on a core that starts one multiply-add of whole
// vectors per cycle.
constexpr double kPerPixel = 10;  // to bring a pixel into lanes or back

double direct_cycles(const DepthwiseConv2dGeometry& g, DepthwisePass pass) {
  constexpr double kPerProduct = 1.1;
  const auto products = static_cast<double>(cpu::products(cpu::correlations_of(g, pass)));
  return kPerProduct * products + kPerPixel * static_cast<double>(g.input.area() + g.output.area());
}

// Rows in whole vectors: reading them (and taking even from odd columns with stride 2), and for every vector
// of the result (of dy, for the weight gradient) its products and what it costs to begin and end a tile. The
// sums of the weight gradient wait in memory between two tiles.
double rows_cycles(const DepthwiseConv2dGeometry& g, DepthwisePass pass) {
  constexpr double kLanes = 16, kPerVector = 6, kPerSplitVector = 9, kPerSum = .6;
  const bool turned = pass == DepthwisePass::backward_input;
  const Extent2d in = turned ? g.output : g.input, out = turned ? g.input : g.output;
  const auto vectors = [](std::int64_t w) { return std::ceil(static_cast<double>(w) / kLanes); };
  const auto taps = static_cast<double>(g.taps());
  const double read =
      static_cast<double>(in.h) * vectors(in.w) * (g.stride.h == 1 ? kPerVector : kPerSplitVector);
  const double sums = pass == DepthwisePass::backward_weight ? kPerSum * taps : 0;  // of a row
  return kLanes * (read + static_cast<double>(out.h) * (vectors(out.w) * (taps + kPerVector) + sums));
}

// Transforms of all rows that hold an image and of all columns, there and back; kernels are transformed once
// for many samples, their gradient once for all.
double fft_cycles(const DepthwiseConv2dGeometry& g, DepthwisePass pass) {
  // A pass with a small factor takes as long as one with 6: it waits for its loads and stores. Lengths 10 to
  // 72 are all within 20 % of this.
  constexpr double kPerPoint = 1.4;  // and factor
  static constexpr int kSmallestFactor = 6;
  const auto transform = [](const FftLength& length) {
    double sum = 0;
    for (const int factor : length.factors) sum += std::max(factor, kSmallestFactor);
    return kPerPoint * sum * static_cast<double>(length.value);
  };
  const FftShape shape(g);
  const double columns = 2 * static_cast<double>(shape.w.value) * transform(shape.h);
  const double plane = static_cast<double>(g.input.h + g.output.h) * transform(shape.w) + columns;
  const double kernel = static_cast<double>(g.kernel.h) * transform(shape.w) + columns / 2;
  const auto samples = static_cast<double>(g.batch);
  // The weight gradient transforms two images and adds up their product, in memory.
  const double transforms = pass == DepthwisePass::backward_weight ? 1.1 * (plane + kernel / samples) : plane;
  return transforms / 2 + kPerPixel * static_cast<double>(g.input.area() + g.output.area());
}

std::atomic<DepthwiseKernel> default_kernel = DepthwiseKernel::automatic;

}  // namespace

void set_default_depthwise_kernel(DepthwiseKernel kernel) { default_kernel = kernel; }
DepthwiseKernel default_depthwise_kernel() { return default_kernel; }

bool depthwise_kernel_applies(DepthwiseKernel kernel, const DepthwiseConv2dGeometry& g) {
  switch (kernel) {
    case DepthwiseKernel::direct:
      return cpu::depthwise_direct_applies(g);
    case DepthwiseKernel::rows:
      return cpu::depthwise_rows_applies(g);
    case DepthwiseKernel::fft:
      return cpu::depthwise_fft_applies(g);
    case DepthwiseKernel::tensor_core:
      return false;  // on a GPU: cuda::choose_depthwise_kernel
    default:
      return true;
  }
}

DepthwiseKernel choose_depthwise_kernel(const DepthwiseConv2dGeometry& g, DepthwisePass pass) {
  if (g.channels == 0 || g.batch == 0) return DepthwiseKernel::naive;  // nothing to do
  // The input gradient with stride 2 is left to `direct` where `rows` is asked for.
  const bool rows_has_pass = g.stride == Extent2d(1) || pass != DepthwisePass::backward_input;
  const auto of_pass = [&](DepthwiseKernel kernel) {
    return kernel == DepthwiseKernel::rows && !rows_has_pass ? DepthwiseKernel::direct : kernel;
  };
  if (g.forced != DepthwiseKernel::automatic) return of_pass(g.forced);
  const DepthwiseKernel preferred = default_kernel;
  if (preferred != DepthwiseKernel::automatic && depthwise_kernel_applies(preferred, g))
    return of_pass(preferred);
  if (!cpu::depthwise_direct_applies(g)) return DepthwiseKernel::naive;
  DepthwiseKernel best = DepthwiseKernel::direct;
  double cycles = direct_cycles(g, pass);
  const auto consider = [&](DepthwiseKernel kernel, double of_kernel) {
    if (of_kernel < cycles) best = kernel, cycles = of_kernel;
  };
  if (rows_has_pass && cpu::depthwise_rows_applies(g)) consider(DepthwiseKernel::rows, rows_cycles(g, pass));
  if (cpu::depthwise_fft_applies(g)) consider(DepthwiseKernel::fft, fft_cycles(g, pass));
  return best;
}

}  // namespace replk
