#include "data/statistics.h"

#include <algorithm>
#include <cmath>
#include <mutex>

#include "core/error.h"
#include "core/parallel.h"

namespace replk {
namespace {

constexpr std::size_t kMaxChannels = 4;

// Whole-number sums over pixels, by channel; 2^64 is enough for 10^14 pixels.
struct Sums {
  std::map<std::array<std::int64_t, 3>, std::int64_t> sizes;
  std::array<std::uint64_t, kMaxChannels> pixels{}, values{}, squares{};

  void add(const Image& image) {
    ++sizes[{image.height, image.width, image.channels}];
    const auto channels = static_cast<std::size_t>(image.channels);
    for (std::size_t c = 0; c < channels; ++c) {
      std::uint64_t sum = 0, square = 0;
      for (std::size_t i = c; i < image.pixels.size(); i += channels) {
        const std::uint32_t value = image.pixels[i];
        sum += value;
        square += value * value;
      }
      pixels[c] += image.pixels.size() / channels;
      values[c] += sum;
      squares[c] += square;
    }
  }

  void add(const Sums& other) {
    for (const auto& [size, count] : other.sizes) sizes[size] += count;
    for (std::size_t c = 0; c < kMaxChannels; ++c) {
      pixels[c] += other.pixels[c];
      values[c] += other.values[c];
      squares[c] += other.squares[c];
    }
  }
};

}  // namespace

DatasetStatistics dataset_statistics(const Dataset& dataset, std::int64_t most_images) {
  check(most_images >= 1, "dataset_statistics: at least one image expected, got ", most_images, ".");
  DatasetStatistics result;
  result.class_counts.resize(dataset.classes().size());
  for (std::int64_t i = 0; i < dataset.size(); ++i)
    ++result.class_counts[static_cast<std::size_t>(dataset.label(i))];

  const std::int64_t images = std::min(most_images, dataset.size());
  Sums total;
  std::mutex mutex;
  parallel_for(images, 16, [&](std::int64_t begin, std::int64_t end) {
    Sums sums;
    for (std::int64_t i = begin; i < end; ++i) sums.add(dataset.get(i * dataset.size() / images).image);
    const std::lock_guard lock(mutex);
    total.add(sums);
  });

  result.images = images;
  result.sizes = total.sizes;
  for (std::size_t c = 0; c < kMaxChannels && total.pixels[c] > 0; ++c) {
    check(total.pixels[c] == total.pixels[0], "dataset_statistics: pictures of ", dataset.name(),
          " with one number of channels expected, got grey and colour mixed.");
    const auto pixels = static_cast<double>(total.pixels[c]);
    const double mean = static_cast<double>(total.values[c]) / pixels;
    const double square = static_cast<double>(total.squares[c]) / pixels;
    result.mean.push_back(mean / 255);
    result.deviation.push_back(std::sqrt(std::max(square - mean * mean, 0.0)) / 255);
  }
  return result;
}

}  // namespace replk
