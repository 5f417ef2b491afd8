#include "data/transforms.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "data/image_ops.h"

namespace replk {
namespace {

constexpr int kTries = 10;

std::int64_t round_even(double value) { return std::llrint(value); }

double log_uniform(Random& random, double low, double high) {
  return std::exp(random.uniform(std::log(low), std::log(high)));
}

bool happens(Random& random, double probability) { return random.uniform() < probability; }

// The part `box` of a picture that goes on as `fill` in every direction.
Image crop_padded(const Image& image, Box box, std::uint8_t fill) {
  Image result = Image::filled(box.height, box.width, image.channels, fill);
  const std::int64_t left = std::max<std::int64_t>(box.left, 0);
  const std::int64_t right = std::min(box.left + box.width, image.width);
  for (std::int64_t y = 0; y < box.height; ++y) {
    const std::int64_t from = box.top + y;
    if (from < 0 || from >= image.height || left >= right) continue;
    std::copy_n(image.row(from) + left * image.channels, (right - left) * image.channels,
                result.row(y) + (left - box.left) * image.channels);
  }
  return result;
}

void check_size(const char* op, Extent2d size) {
  check(size.h >= 1 && size.w >= 1, op, ": a size of at least 1x1 expected, got ", size, ".");
}

void check_range(const char* op, const char* what, const std::array<double, 2>& range) {
  check(range[0] > 0 && range[0] <= range[1], op, ": ", what,
        " of two rising positive numbers expected, got ", range[0], " and ", range[1], ".");
}

}  // namespace

Image Pipeline::operator()(Image image, Random& random) const {
  for (const Transform& transform : transforms_) image = transform(std::move(image), random);
  return image;
}

Image Resize::operator()(Image image, Random&) const { return resize(image, size.h, size.w, filter); }

Image ResizeShorterSide::operator()(Image image, Random&) const {
  const std::int64_t shorter = std::min(image.height, image.width);
  const auto in_proportion = [&](std::int64_t side) {
    return side == shorter ? size : size * side / shorter;
  };
  return resize(image, in_proportion(image.height), in_proportion(image.width), filter);
}

Image CenterCrop::operator()(Image image, Random&) const {
  check_size("CenterCrop", size);
  // Padding comes first and rounds down before the picture; then the crop's place is rounded.
  const auto offset = [](std::int64_t have, std::int64_t want) {
    return have < want ? -((want - have) / 2) : round_even(static_cast<double>(have - want) / 2);
  };
  return crop_padded(image, {offset(image.height, size.h), offset(image.width, size.w), size.h, size.w},
                     fill);
}

Image RandomCrop::operator()(Image image, Random& random) const {
  const Extent2d target = size == Extent2d{} ? Extent2d{image.height, image.width} : size;
  const std::int64_t rows = image.height + 2 * padding.h - target.h;
  const std::int64_t columns = image.width + 2 * padding.w - target.w;
  check(padding.h >= 0 && padding.w >= 0 && target.h >= 1 && target.w >= 1 && rows >= 0 && columns >= 0,
        "RandomCrop: a size of at most ", image, " plus a padding of ", padding,
        " on each side expected, got ", target, ".");
  const std::int64_t top = random.below(rows + 1) - padding.h;
  const std::int64_t left = random.below(columns + 1) - padding.w;
  return crop_padded(image, {top, left, target.h, target.w}, fill);
}

Box RandomResizedCrop::choose(std::int64_t height, std::int64_t width, Random& random) const {
  check_range("RandomResizedCrop", "a scale", scale);
  check_range("RandomResizedCrop", "a ratio", ratio);
  const auto area = static_cast<double>(height * width);
  for (int attempt = 0; attempt < kTries; ++attempt) {
    const double target = area * random.uniform(scale[0], scale[1]);
    const double proportion = log_uniform(random, ratio[0], ratio[1]);
    const std::int64_t w = round_even(std::sqrt(target * proportion));
    const std::int64_t h = round_even(std::sqrt(target / proportion));
    if (w >= 1 && h >= 1 && w <= width && h <= height) {
      const std::int64_t top = random.below(height - h + 1);
      return {top, random.below(width - w + 1), h, w};
    }
  }
  std::int64_t h = height, w = width;
  const double proportion = static_cast<double>(width) / static_cast<double>(height);
  if (proportion < ratio[0]) h = round_even(static_cast<double>(width) / ratio[0]);
  if (proportion > ratio[1]) w = round_even(static_cast<double>(height) * ratio[1]);
  h = std::clamp<std::int64_t>(h, 1, height);
  w = std::clamp<std::int64_t>(w, 1, width);
  return {(height - h) / 2, (width - w) / 2, h, w};
}

Image RandomResizedCrop::operator()(Image image, Random& random) const {
  check_size("RandomResizedCrop", size);
  return resize(image, choose(image.height, image.width, random), size.h, size.w, filter);
}

Image HorizontalFlip::operator()(Image image, Random& random) const {
  if (!happens(random, probability)) return image;
  for (std::int64_t y = 0; y < image.height; ++y) {
    std::uint8_t* left = image.row(y);
    std::uint8_t* right = image.row(y) + (image.width - 1) * image.channels;
    for (; left < right; left += image.channels, right -= image.channels)
      std::swap_ranges(left, left + image.channels, right);
  }
  return image;
}

Image ColorJitter::operator()(Image image, Random& random) const {
  check(strength >= 0, "ColorJitter: a strength of 0 or more expected, got ", strength, ".");
  const auto factor = [&] { return random.uniform(std::max(0.0, 1 - strength), 1 + strength); };
  const double brightness = factor(), contrast = factor(), color = factor();
  std::array<int, 3> order = {0, 1, 2};
  for (std::int64_t i = 2; i > 0; --i)
    std::swap(order[static_cast<std::size_t>(i)], order[static_cast<std::size_t>(random.below(i + 1))]);
  for (const int which : order)
    image = which == 0   ? adjust_brightness(std::move(image), brightness)
            : which == 1 ? adjust_contrast(std::move(image), contrast)
                         : adjust_color(std::move(image), color);
  return image;
}

Image RandomErasing::operator()(Image image, Random& random) const {
  check(image.channels <= 3, "RandomErasing: 1 to 3 channels expected, got ", image, ".");
  check_range("RandomErasing", "an area", area);
  check(aspect > 0 && aspect <= 1, "RandomErasing: an aspect in (0, 1] expected, got ", aspect, ".");
  check(count >= 1, "RandomErasing: a count of at least 1 expected, got ", count, ".");
  if (!happens(random, probability)) return image;
  for (int rectangle = 0; rectangle < count; ++rectangle) erase_one(image, random);
  return image;
}

void RandomErasing::erase_one(Image& image, Random& random) const {
  const double whole = static_cast<double>(image.height * image.width) / count;
  for (int attempt = 0; attempt < kTries; ++attempt) {
    const double target = whole * random.uniform(area[0], area[1]);
    const double proportion = log_uniform(random, aspect, 1 / aspect);
    const std::int64_t h = round_even(std::sqrt(target * proportion));
    const std::int64_t w = round_even(std::sqrt(target / proportion));
    if (h >= image.height || w >= image.width) continue;
    const std::int64_t top = random.below(image.height - h + 1);
    const std::int64_t left = random.below(image.width - w + 1);
    for (std::int64_t y = top; y < top + h; ++y)
      for (std::int64_t x = left; x < left + w; ++x)
        for (std::int64_t c = 0; c < image.channels; ++c) {
          const auto channel = static_cast<std::size_t>(c);
          const double noise = fill == Fill::noise ? deviation[channel] * random.normal() : 0;
          image.at(y, x, c) =
              static_cast<std::uint8_t>(std::clamp<std::int64_t>(round_even(mean[channel] + noise), 0, 255));
        }
    return;
  }
}

Image ConvertChannels::operator()(Image image, Random&) const {
  return convert_channels(std::move(image), channels);
}

}  // namespace replk
