#include "data/image.h"

#include <algorithm>

#include "core/error.h"

namespace replk {

Image Image::filled(std::int64_t height, std::int64_t width, std::int64_t channels, std::uint8_t value) {
  check(height >= 1 && width >= 1 && channels >= 1, "image: extents of at least 1 expected, got ", height,
        "x", width, "x", channels, ".");
  return {height, width, channels,
          std::vector<std::uint8_t>(static_cast<std::size_t>(height * width * channels), value)};
}

std::ostream& operator<<(std::ostream& out, const Image& image) {
  return out << image.height << 'x' << image.width << 'x' << image.channels;
}

void check_inside(const char* op, const Image& image, Box box) {
  check(box.height >= 1 && box.width >= 1 && box.top >= 0 && box.left >= 0 &&
            box.height <= image.height - box.top && box.width <= image.width - box.left,
        op, ": a box inside the image of ", image, " expected, got ", box.height, "x", box.width, " at (",
        box.top, ", ", box.left, ").");
}

Image crop(const Image& image, Box box) {
  check_inside("crop", image, box);
  Image result = Image::filled(box.height, box.width, image.channels);
  for (std::int64_t y = 0; y < box.height; ++y)
    std::copy_n(image.row(box.top + y) + box.left * image.channels, box.width * image.channels,
                result.row(y));
  return result;
}

Image convert_channels(Image image, std::int64_t channels) {
  check((channels == 1 || channels == 3) && image.channels >= 1 && image.channels <= 4,
        "convert_channels: to 1 or 3 channels from 1 to 4 expected, got ", image, " to ", channels, ".");
  if (image.channels == channels) return image;
  Image result = Image::filled(image.height, image.width, channels);
  const std::uint8_t* from = image.pixels.data();
  std::uint8_t* to = result.pixels.data();
  const bool from_grey = image.channels <= 2;
  for (std::int64_t i = 0; i < image.height * image.width; ++i, from += image.channels, to += channels) {
    if (from_grey)
      std::fill_n(to, channels, from[0]);
    else if (channels == 3)
      std::copy_n(from, 3, to);
    else
      to[0] = static_cast<std::uint8_t>((19595 * from[0] + 38470 * from[1] + 7471 * from[2] + 32768) >> 16);
  }
  return result;
}

}  // namespace replk
