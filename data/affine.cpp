#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"
#include "data/image_ops.h"

namespace replk {
namespace {

// The value at fraction t between v[1] and v[2]. Order of operations as in PIL: the result is rounded down,
// so a last bit can matter.
double cubic(const double* v, double t) {
  const double p2 = -v[0] + v[2], p3 = 2 * (v[0] - v[1]) + v[2] - v[3], p4 = -v[0] + v[1] - v[2] + v[3];
  return v[1] + t * (p2 + t * (p3 + t * p4));
}

double linear(const double* v, double t) { return v[0] + t * (v[1] - v[0]); }

// Taps along one axis: `kTaps` positions from `first` on, clamped, and the fraction after the middle.
template <int kTaps>
struct Taps {
  std::int64_t at[kTaps];
  double fraction;

  Taps(double position, std::int64_t extent, std::int64_t stride) {
    const double below = std::floor(position - 0.5);
    fraction = position - 0.5 - below;
    const auto first = static_cast<std::int64_t>(below) - (kTaps / 2 - 1);
    for (int k = 0; k < kTaps; ++k) at[k] = std::clamp<std::int64_t>(first + k, 0, extent - 1) * stride;
  }
};

// One pixel: along the rows first, then across them.
template <int kTaps>
void sample(const Image& image, double x, double y, std::uint8_t* out) {
  const auto between = [](const double* v, double t) { return kTaps == 4 ? cubic(v, t) : linear(v, t); };
  const Taps<kTaps> across(x, image.width, image.channels), down(y, image.height, 1);
  for (std::int64_t c = 0; c < image.channels; ++c) {
    double rows[kTaps];
    for (int r = 0; r < kTaps; ++r) {
      const std::uint8_t* row = image.row(down.at[r]) + c;
      double values[kTaps];
      for (int k = 0; k < kTaps; ++k) values[k] = row[across.at[k]];
      rows[r] = between(values, across.fraction);
    }
    out[c] = static_cast<std::uint8_t>(std::clamp(between(rows, down.fraction), 0.0, 255.0));
  }
}

}  // namespace

Image affine(const Image& image, const std::array<double, 6>& m, Filter filter, Colour fill) {
  check(image.channels == 1 || image.channels == 3, "affine: 1 or 3 channels expected, got ", image, ".");
  check(std::all_of(m.begin(), m.end(), [](double v) { return std::isfinite(v); }),
        "affine: a finite matrix expected.");
  Image result = Image::filled(image.height, image.width, image.channels);
  const auto width = static_cast<double>(image.width), height = static_cast<double>(image.height);
  for (std::int64_t j = 0; j < image.height; ++j) {
    std::uint8_t* out = result.row(j);
    for (std::int64_t i = 0; i < image.width; ++i, out += image.channels) {
      const double x = static_cast<double>(i) + 0.5, y = static_cast<double>(j) + 0.5;
      const double from_x = m[0] * x + m[1] * y + m[2], from_y = m[3] * x + m[4] * y + m[5];
      if (from_x < 0 || from_x >= width || from_y < 0 || from_y >= height)
        std::copy_n(fill.begin(), image.channels, out);
      else if (filter == Filter::bicubic)
        sample<4>(image, from_x, from_y, out);
      else
        sample<2>(image, from_x, from_y, out);
    }
  }
  return result;
}

Image rotate(const Image& image, double degrees, Filter filter, Colour fill) {
  // Rounded to 15 places, so that a quarter turn has no trace of its sine's last bit.
  const auto rounded = [](double value) { return std::round(value * 1e15) / 1e15; };
  const double angle = -degrees * std::numbers::pi / 180;
  const double cosine = rounded(std::cos(angle)), sine = rounded(std::sin(angle));
  const double x = static_cast<double>(image.width) / 2, y = static_cast<double>(image.height) / 2;
  return affine(image,
                {cosine, sine, cosine * -x + sine * -y + x, -sine, cosine, -sine * -x + cosine * -y + y},
                filter, fill);
}

}  // namespace replk
