// RandAugment: a few operations on a picture, drawn at random from fifteen.
#pragma once

#include <string>

#include "core/random.h"
#include "data/image_ops.h"

namespace replk {

enum class AugmentOp {
  auto_contrast,
  equalize,
  invert,
  rotate,
  posterize,
  solarize,
  solarize_add,
  color,
  contrast,
  brightness,
  sharpness,
  shear_x,
  shear_y,
  translate_x,
  translate_y,
};
inline constexpr int kAugmentOps = 15;

/// Draws `count` operations, each from all fifteen, and applies each with this probability, at a level drawn
/// from a normal distribution around `magnitude` and clamped to [0, 10].
/// Source: Cubuk et al. 2020; the operations, their order, levels and defaults are timm's
/// ("rand-m9-mstd0.5"), with `increasing` ("inc1") those whose strength grows with the level throughout.
struct RandAugment {
  double magnitude = 10;  // in [0, 10]
  double deviation = 0;   // of the level; above 100: the level is uniform in [0, magnitude]
  int count = 2;
  double probability = 0.5;
  bool increasing = false;
  Filter filter = Filter::bicubic;  // of rotation, shearing and translation
  Colour fill = {128, 128, 128};    // what they leave empty

  /// Reads "rand-m9-mstd0.5-inc1": m magnitude, mstd deviation, n count, inc increasing, in any order.
  /// Throws UsageError naming the part that is not understood.
  static RandAugment parse(const std::string& text);

  /// What an operation is told at a level in [0, 10]: degrees, bits, a threshold, an addend, a factor, a
  /// slope, or a share of the width or height; 0 for those that take nothing. `sign` (-1 or 1) is that of
  /// rotation, shearing, translation and increasing enhancements.
  double argument(AugmentOp op, double level, double sign) const;
  Image apply(AugmentOp op, Image image, double argument) const;

  Image operator()(Image image, Random& random) const;
};

}  // namespace replk
