// What RandAugment and colour jitter do to the bytes of a picture, each with PIL's result to the byte.
//
// All take pictures of 1 (grey) or 3 (RGB) channels and throw Error for others. Source: the definitions of
// PIL's ImageOps, ImageEnhance and Image.transform.
#pragma once

#include <array>

#include "data/image.h"
#include "data/resize.h"

namespace replk {

/// Stretches each channel so that its darkest byte becomes 0 and its brightest 255.
Image auto_contrast(Image image);
/// Replaces bytes, channel by channel, such that each occurs about equally often (histogram equalisation).
Image equalize(Image image);
/// 255 - v
Image invert(Image image);
/// Keeps the `bits` highest bits of every byte, `bits` in [0, 8].
Image posterize(Image image, int bits);
/// 255 - v where v >= threshold, threshold in [0, 256].
Image solarize(Image image, int threshold);
/// min(255, v + addend) where v < 128.
Image solarize_add(Image image, int addend);

/// Enhancements: d + factor (v - d), clamped and rounded down, factor >= 0. With 0 the picture is d, with 1
/// it stays as it is, above 1 it moves away from d, which is
///   brightness  black
///   contrast    the rounded mean of its grey version
///   colour      its grey version
///   sharpness   itself smoothed by (1 1 1, 1 5 1, 1 1 1) / 13, with the pixels at the border as they are
Image adjust_brightness(Image image, double factor);
Image adjust_contrast(Image image, double factor);
Image adjust_color(Image image, double factor);
Image adjust_sharpness(Image image, double factor);

/// A colour for pixels that come from outside; grey pictures use the first number.
using Colour = std::array<std::uint8_t, 3>;

/// The picture of the same size whose pixel centre (x, y) is the point
///     (m[0] x + m[1] y + m[2], m[3] x + m[4] y + m[5])
/// of `image`, `fill` where that is outside. Pixel (i, j) has its centre at (i + 0.5, j + 0.5); beyond the
/// border pixels repeat. Interpolated values are rounded down. bicubic is PIL's for transformations: Keys'
/// cubic with a = -1, not the -0.5 of resize.
Image affine(const Image& image, const std::array<double, 6>& m, Filter filter, Colour fill);
/// Turned counterclockwise about its middle.
Image rotate(const Image& image, double degrees, Filter filter, Colour fill);

}  // namespace replk
