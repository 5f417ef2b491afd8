#include "data/resize.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace replk {
namespace {

constexpr int kFractionBits = 22;  // 255 * 2^22 times the weights' sum of magnitudes stays below 2^31
constexpr std::int64_t kMaxSide = 16384;

double filter_weight(Filter filter, double distance) {
  const double d = std::abs(distance);
  if (filter == Filter::bilinear) return d < 1 ? 1 - d : 0;
  constexpr double a = -0.5;
  if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  if (d < 2) return (((d - 5) * d + 8) * d - 4) * a;
  return 0;
}

// For every output position: the first input position that counts, and the weights from there on.
struct Taps {
  struct Span {
    std::int64_t first, count, weights;  // the last is an offset into `weights`
  };
  std::vector<Span> spans;
  std::vector<std::int32_t> weights;
};

Taps make_taps(std::int64_t from, std::int64_t to, Filter filter) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double stretch = std::max(scale, 1.0);
  const double reach = (filter == Filter::bilinear ? 1.0 : 2.0) * stretch;
  Taps taps;
  std::vector<double> weights;
  for (std::int64_t i = 0; i < to; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    const auto first = std::max<std::int64_t>(static_cast<std::int64_t>(centre - reach + 0.5), 0);
    const auto last = std::min<std::int64_t>(static_cast<std::int64_t>(centre + reach + 0.5), from);
    weights.clear();
    double sum = 0;
    for (std::int64_t k = first; k < last; ++k) {
      weights.push_back(filter_weight(filter, (static_cast<double>(k) - centre + 0.5) / stretch));
      sum += weights.back();
    }
    taps.spans.push_back({first, last - first, static_cast<std::int64_t>(taps.weights.size())});
    for (const double weight : weights)
      taps.weights.push_back(static_cast<std::int32_t>(std::lround(weight / sum * (1 << kFractionBits))));
  }
  return taps;
}

constexpr std::int32_t kHalf = 1 << (kFractionBits - 1);

std::uint8_t to_byte(std::int32_t fixed) {
  return static_cast<std::uint8_t>(std::clamp(fixed >> kFractionBits, 0, 255));
}

// One row of pixels with C channels to another width.
template <int C>
void resize_row(const Taps& taps, const std::uint8_t* from, std::uint8_t* to) {
  for (const Taps::Span& span : taps.spans) {
    std::int32_t sums[C];
    std::fill_n(sums, C, kHalf);
    const std::int32_t* weights = taps.weights.data() + span.weights;
    const std::uint8_t* pixel = from + span.first * C;
    for (std::int64_t k = 0; k < span.count; ++k, pixel += C)
      for (int c = 0; c < C; ++c) sums[c] += weights[k] * pixel[c];
    for (int c = 0; c < C; ++c) *to++ = to_byte(sums[c]);
  }
}

Image resize_rows(const Image& image, Box box, std::int64_t width, Filter filter) {
  const Taps taps = make_taps(box.width, width, filter);
  Image result = Image::filled(box.height, width, image.channels);
  const auto row = image.channels == 1   ? resize_row<1>
                   : image.channels == 2 ? resize_row<2>
                   : image.channels == 3 ? resize_row<3>
                                         : resize_row<4>;
  for (std::int64_t y = 0; y < box.height; ++y)
    row(taps, image.row(box.top + y) + box.left * image.channels, result.row(y));
  return result;
}

Image resize_columns(const Image& image, std::int64_t height, Filter filter) {
  const Taps taps = make_taps(image.height, height, filter);
  Image result = Image::filled(height, image.width, image.channels);
  const std::int64_t columns = image.width * image.channels;
  std::vector<std::int32_t> sums(static_cast<std::size_t>(columns));
  for (std::int64_t y = 0; y < height; ++y) {
    const Taps::Span span = taps.spans[static_cast<std::size_t>(y)];
    std::fill(sums.begin(), sums.end(), kHalf);
    for (std::int64_t k = 0; k < span.count; ++k) {
      const std::int32_t weight = taps.weights[static_cast<std::size_t>(span.weights + k)];
      const std::uint8_t* from = image.row(span.first + k);
      for (std::int64_t i = 0; i < columns; ++i) sums[static_cast<std::size_t>(i)] += weight * from[i];
    }
    std::transform(sums.begin(), sums.end(), result.row(y), to_byte);
  }
  return result;
}

}  // namespace

Image resize(const Image& image, Box box, std::int64_t height, std::int64_t width, Filter filter) {
  check(height >= 1 && width >= 1 && height <= kMaxSide && width <= kMaxSide, "resize: sides in [1, ",
        kMaxSide, "] expected, got ", height, "x", width, ".");
  check(image.channels >= 1 && image.channels <= 4, "resize: 1 to 4 channels expected, got ", image, ".");
  check_inside("resize", image, box);
  if (box.height == height && box.width == width) return crop(image, box);
  const Image wide = box.width == width ? crop(image, box) : resize_rows(image, box, width, filter);
  return wide.height == height ? wide : resize_columns(wide, height, filter);
}

Image resize(const Image& image, std::int64_t height, std::int64_t width, Filter filter) {
  return resize(image, {0, 0, image.height, image.width}, height, width, filter);
}

}  // namespace replk
