// Image: the bytes of one picture, as they are in the file.
#pragma once

#include <cstdint>
#include <ostream>
#include <vector>

namespace replk {

/// Bytes in (H, W, C) order: row by row, the channels of a pixel side by side. 1 channel is grey, 3 are RGB.
struct Image {
  std::int64_t height = 0, width = 0, channels = 0;
  std::vector<std::uint8_t> pixels;

  /// Every byte set to `value`. Throws Error on an extent below 1.
  static Image filled(std::int64_t height, std::int64_t width, std::int64_t channels, std::uint8_t value = 0);

  /// First byte of row y.
  std::uint8_t* row(std::int64_t y) { return pixels.data() + y * width * channels; }
  const std::uint8_t* row(std::int64_t y) const { return pixels.data() + y * width * channels; }
  /// Channel c of the pixel in row y, column x.
  std::uint8_t& at(std::int64_t y, std::int64_t x, std::int64_t c) { return row(y)[x * channels + c]; }
  std::uint8_t at(std::int64_t y, std::int64_t x, std::int64_t c) const { return row(y)[x * channels + c]; }

  friend bool operator==(const Image&, const Image&) = default;
};

/// "28x28x1": height, width, channels.
std::ostream& operator<<(std::ostream& out, const Image& image);

/// A rectangle of pixels.
struct Box {
  std::int64_t top = 0, left = 0, height = 0, width = 0;
  friend bool operator==(const Box&, const Box&) = default;
};

/// Throws Error, naming `op`, when `box` is empty or reaches outside the image.
void check_inside(const char* op, const Image& image, Box box);

/// The pixels inside `box`. Throws Error when it is empty or reaches outside the image.
Image crop(const Image& image, Box box);

/// The same picture with 1 (grey) or 3 (RGB) channels.
///
/// Grey to RGB repeats the byte; RGB to grey is 0.299 R + 0.587 G + 0.114 B (ITU-R 601, rounded as PIL does).
/// A channel of opacity (2 or 4 channels in) is dropped. Throws Error for other counts.
Image convert_channels(Image image, std::int64_t channels);

}  // namespace replk
