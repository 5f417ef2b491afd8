#include "core/cuda/elementwise.cuh"
#include "ops/normalize_images/normalize_images.h"

namespace replk::cuda {
namespace {

constexpr std::int64_t kMostChannels = 32;  // of one launch: their means and stds travel as its arguments

struct ChannelStatistics {
  float mean[kMostChannels], std[kMostChannels];
};

// Block b works on channel b % channels of this launch. A byte has 256 values: the block computes all of them
// once, in double, into shared memory, and then looks up; each of its threads takes `lanes` pixels at a time,
// whose bytes lie `stride` apart, and writes them side by side.
template <class T, int lanes>
__global__ void normalize_kernel(std::int64_t pixels, int channels, int first, int stride,
                                 const ChannelStatistics statistics, const std::uint8_t* images, T* y) {
  __shared__ Accumulator<T> table[256];
  const int c = static_cast<int>(blockIdx.x) % channels;
  for (int byte = static_cast<int>(threadIdx.x); byte < 256; byte += static_cast<int>(blockDim.x)) {
    const double value = (byte / 255.0 - double{statistics.mean[c]}) / double{statistics.std[c]};
    table[byte] = static_cast<Accumulator<T>>(value);
  }
  __syncthreads();
  const std::int64_t blocks = gridDim.x / channels, block = blockIdx.x / channels;
  const std::uint8_t* from = images + first + c;
  T* to = y + (first + c) * pixels;
  for (std::int64_t i = (block * blockDim.x + threadIdx.x) * lanes; i < pixels;
       i += blocks * blockDim.x * lanes) {
    Lanes<Accumulator<T>, lanes> values;
    for (int k = 0; k < lanes; ++k) values[k] = table[from[(i + k) * stride]];
    store(to + i, values);
  }
}

}  // namespace

void normalize_images(const NormalizeImagesGeometry& g, const Tensor& images, std::span<const float> mean,
                      std::span<const float> std, Tensor& y) {
  constexpr std::int64_t kMostBlocks = 1 << 12;  // a block's table should serve many pixels
  visit_floating("normalize_images", y.dtype(), [&]<class T>(TypeTag<T>) {
    constexpr int kLanes = kVectorLanes<T>;
    T* to = y.data<T>();
    const bool vectors = g.pixels % kLanes == 0 && aligned(to);
    for (std::int64_t first = 0; first < g.channels; first += kMostChannels) {
      const std::int64_t channels = std::min(kMostChannels, g.channels - first);
      ChannelStatistics statistics{};
      for (std::int64_t c = 0; c < channels; ++c) {
        statistics.mean[c] = mean[static_cast<std::size_t>(first + c)];
        statistics.std[c] = std[static_cast<std::size_t>(first + c)];
      }
      const std::int64_t items = g.pixels / (vectors ? kLanes : 1);
      const std::int64_t blocks = std::min(ceil_div(items, kThreads), ceil_div(kMostBlocks, channels));
      launch("normalize_images", {blocks * channels, kThreads},
             vectors ? normalize_kernel<T, kLanes> : normalize_kernel<T, 1>, g.pixels,
             static_cast<int>(channels), static_cast<int>(first), static_cast<int>(g.channels), statistics,
             images.data<std::uint8_t>(), to);
    }
  });
}

}  // namespace replk::cuda
