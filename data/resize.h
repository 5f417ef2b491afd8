// Resizing with PIL's results, so that networks trained elsewhere see the pixels they know.
#pragma once

#include "data/image.h"

namespace replk {

/// The weight of a source pixel at distance d (in target pixels, or source pixels when enlarging).
/// bilinear: 1 - |d| for |d| < 1. bicubic: Keys' cubic with a = -0.5, |d| < 2.
enum class Filter { bilinear, bicubic };

/// The part of `image` inside `box`, resized to height x width.
///
/// Separable: rows first, rounded to bytes, then columns, with weights of 22 fractional bits. When shrinking
/// the filter is widened by the factor, so that every source pixel counts (antialiasing). Nothing outside the
/// box is read. Throws Error when the box reaches outside or the result has sides outside [1, 16384].
/// Source: Keys, "Cubic convolution interpolation", 1981; sampling positions and rounding are those of PIL
/// (the same bytes as Pillow 10).
Image resize(const Image& image, Box box, std::int64_t height, std::int64_t width,
             Filter filter = Filter::bilinear);

/// The whole image, resized.
Image resize(const Image& image, std::int64_t height, std::int64_t width, Filter filter = Filter::bilinear);

}  // namespace replk
