#include "data/image_ops.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"

namespace replk {
namespace {

constexpr std::size_t kLevels = 256;
using Table = std::array<std::uint8_t, kLevels>;
using Histogram = std::array<std::int64_t, kLevels>;

void check_channels(const char* op, const Image& image) {
  check(image.channels == 1 || image.channels == 3, op, ": 1 or 3 channels expected, got ", image, ".");
}

std::uint8_t clamped(std::int64_t value) {
  return static_cast<std::uint8_t>(std::clamp<std::int64_t>(value, 0, 255));
}

template <class F>
Table table_of(const F& f) {
  Table table;
  for (std::size_t v = 0; v < kLevels; ++v) table[v] = clamped(f(static_cast<std::int64_t>(v)));
  return table;
}

Image through(Image image, const Table& table) {
  for (std::uint8_t& byte : image.pixels) byte = table[byte];
  return image;
}

// Every channel through the table that f(histogram of the channel) returns.
template <class F>
Image through_each(Image image, const F& f) {
  const auto channels = static_cast<std::size_t>(image.channels);
  for (std::size_t c = 0; c < channels; ++c) {
    Histogram histogram{};
    for (std::size_t i = c; i < image.pixels.size(); i += channels) ++histogram[image.pixels[i]];
    const Table table = f(histogram);
    for (std::size_t i = c; i < image.pixels.size(); i += channels) image.pixels[i] = table[image.pixels[i]];
  }
  return image;
}

Table stretching(const Histogram& histogram) {
  std::size_t low = 0, high = kLevels - 1;
  while (low < high && histogram[low] == 0) ++low;
  while (high > low && histogram[high] == 0) --high;
  if (low == high) return table_of([](std::int64_t v) { return v; });
  const double scale = 255.0 / static_cast<double>(high - low);
  const double offset = -static_cast<double>(low) * scale;
  return table_of(
      [=](std::int64_t v) { return static_cast<std::int64_t>(static_cast<double>(v) * scale + offset); });
}

Table equalizing(const Histogram& histogram) {
  const auto last = std::find_if(histogram.rbegin(), histogram.rend(), [](auto count) { return count > 0; });
  const std::int64_t all = std::accumulate(histogram.begin(), histogram.end(), std::int64_t{0});
  const std::int64_t step = (all - *last) / 255;
  if (step == 0) return table_of([](std::int64_t v) { return v; });
  std::int64_t below = step / 2;
  return table_of([&](std::int64_t v) {
    const std::int64_t value = below / step;
    below += histogram[static_cast<std::size_t>(v)];
    return value;
  });
}

// d + factor (v - d) in float, as PIL's blend.
std::uint8_t blended(std::uint8_t d, std::uint8_t v, float factor) {
  const float value = static_cast<float>(d) + factor * static_cast<float>(v - d);
  return value <= 0 ? 0 : value >= 255 ? 255 : static_cast<std::uint8_t>(value);
}

void check_factor(const char* op, double factor) {
  check(factor >= 0 && std::isfinite(factor), op, ": a factor of 0 or more expected, got ", factor, ".");
}

// The picture blended with d(index of the byte).
template <class F>
Image away_from(Image image, double factor, const F& d) {
  for (std::size_t i = 0; i < image.pixels.size(); ++i)
    image.pixels[i] = blended(d(i), image.pixels[i], static_cast<float>(factor));
  return image;
}

}  // namespace

Image auto_contrast(Image image) {
  check_channels("auto_contrast", image);
  return through_each(std::move(image), stretching);
}

Image equalize(Image image) {
  check_channels("equalize", image);
  return through_each(std::move(image), equalizing);
}

Image invert(Image image) {
  check_channels("invert", image);
  return through(std::move(image), table_of([](std::int64_t v) { return 255 - v; }));
}

Image posterize(Image image, int bits) {
  check_channels("posterize", image);
  check(bits >= 0 && bits <= 8, "posterize: 0 to 8 bits expected, got ", bits, ".");
  const std::int64_t mask = 256 - (std::int64_t{1} << (8 - bits));
  return through(std::move(image), table_of([=](std::int64_t v) { return v & mask; }));
}

Image solarize(Image image, int threshold) {
  check_channels("solarize", image);
  return through(std::move(image), table_of([=](std::int64_t v) { return v < threshold ? v : 255 - v; }));
}

Image solarize_add(Image image, int addend) {
  check_channels("solarize_add", image);
  return through(std::move(image), table_of([=](std::int64_t v) { return v < 128 ? v + addend : v; }));
}

Image adjust_brightness(Image image, double factor) {
  check_channels("adjust_brightness", image);
  check_factor("adjust_brightness", factor);
  return away_from(std::move(image), factor, [](std::size_t) { return std::uint8_t{0}; });
}

Image adjust_contrast(Image image, double factor) {
  check_channels("adjust_contrast", image);
  check_factor("adjust_contrast", factor);
  const Image grey = convert_channels(image, 1);
  const double sum = std::accumulate(grey.pixels.begin(), grey.pixels.end(), 0.0);
  const auto mean = static_cast<std::uint8_t>(sum / static_cast<double>(grey.pixels.size()) + 0.5);
  return away_from(std::move(image), factor, [=](std::size_t) { return mean; });
}

Image adjust_color(Image image, double factor) {
  check_channels("adjust_color", image);
  check_factor("adjust_color", factor);
  if (image.channels == 1) return image;
  const Image grey = convert_channels(image, 1);
  return away_from(std::move(image), factor, [&](std::size_t i) { return grey.pixels[i / 3]; });
}

Image adjust_sharpness(Image image, double factor) {
  check_channels("adjust_sharpness", image);
  check_factor("adjust_sharpness", factor);
  Image smooth = image;
  for (std::int64_t y = 1; y + 1 < image.height; ++y)
    for (std::int64_t x = 1; x + 1 < image.width; ++x)
      for (std::int64_t c = 0; c < image.channels; ++c) {
        int sum = 4 * image.at(y, x, c);
        for (std::int64_t dy = -1; dy <= 1; ++dy)
          for (std::int64_t dx = -1; dx <= 1; ++dx) sum += image.at(y + dy, x + dx, c);
        smooth.at(y, x, c) = static_cast<std::uint8_t>((2 * sum + 13) / 26);  // sum / 13, rounded
      }
  return away_from(std::move(image), factor, [&](std::size_t i) { return smooth.pixels[i]; });
}

}  // namespace replk
