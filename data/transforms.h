// Transforms: what may happen to a picture, as bytes, between its file and the batch.
//
// A transform is anything that can be called as image = transform(image, random). All its randomness comes
// from `random`, which the loader keys by (seed, epoch, sample). Rounding is to nearest, ties to even, as in
// Python, so that sizes and positions match torchvision's.
#pragma once

#include <array>
#include <functional>
#include <initializer_list>
#include <vector>

#include "core/random.h"
#include "core/shape.h"
#include "data/image.h"
#include "data/resize.h"

namespace replk {

using Transform = std::function<Image(Image, Random&)>;

/// Transforms one after the other: Pipeline{RandomCrop{.padding = 2}, HorizontalFlip{}}. Empty: none.
class Pipeline {
 public:
  Pipeline() = default;
  Pipeline(std::initializer_list<Transform> transforms) : transforms_(transforms) {}

  void add(Transform transform) { transforms_.push_back(std::move(transform)); }
  std::size_t size() const { return transforms_.size(); }
  Image operator()(Image image, Random& random) const;

 private:
  std::vector<Transform> transforms_;
};

/// To exactly this size, whatever the proportions.
struct Resize {
  Extent2d size = {};
  Filter filter = Filter::bilinear;
  Image operator()(Image image, Random& random) const;
};

/// Shorter side to `size`, the longer one in proportion, rounded down.
struct ResizeShorterSide {
  std::int64_t size = 256;
  Filter filter = Filter::bilinear;
  Image operator()(Image image, Random& random) const;
};

/// The middle `size` pixels; a smaller picture is first surrounded with `fill`.
struct CenterCrop {
  Extent2d size = {};
  std::uint8_t fill = 0;
  Image operator()(Image image, Random& random) const;
};

/// Surrounds the picture with `padding` pixels of `fill`, then cuts `size` pixels out of it at a random
/// place. A size of 0 is the picture's own.
struct RandomCrop {
  Extent2d size = {};
  Extent2d padding = {};
  std::uint8_t fill = 0;
  Image operator()(Image image, Random& random) const;
};

/// A random part of random proportions, resized to `size`.
///
/// The part's area is uniform in `scale` times the picture's, width / height log-uniform in `ratio`. When ten
/// tries do not fit inside: the largest part in the middle whose proportions are within `ratio`.
/// Source: Szegedy et al. 2015 (Inception), torchvision's rule.
struct RandomResizedCrop {
  Extent2d size = {};
  std::array<double, 2> scale = {0.08, 1.0};
  std::array<double, 2> ratio = {3.0 / 4.0, 4.0 / 3.0};
  Filter filter = Filter::bilinear;

  Box choose(std::int64_t height, std::int64_t width, Random& random) const;
  Image operator()(Image image, Random& random) const;
};

/// Left and right swapped, with this probability.
struct HorizontalFlip {
  double probability = 0.5;
  Image operator()(Image image, Random& random) const;
};

/// Brightness, contrast and colour multiplied by factors in [1 - strength, 1 + strength] (not below 0), in
/// random order. Source: torchvision's ColorJitter on PIL images, without hue; timm gives all three one
/// strength.
struct ColorJitter {
  double strength = 0.4;
  Image operator()(Image image, Random& random) const;
};

/// Overwrites `count` random rectangles, with this probability.
///
/// The area of each is uniform in `area` times the picture's, over count; height / width log-uniform in
/// [aspect, 1 / aspect]; ten tries to fit each strictly inside, else nothing happens. noise: every byte is
/// mean + deviation * standard normal, clamped, so that after normalising with the same numbers (times 255)
/// it looks like timm's "pixel" mode. constant: the mean. Source: Zhong et al. 2020, timm's rule.
struct RandomErasing {
  enum class Fill { noise, constant };
  double probability = 0.25;
  std::array<double, 2> area = {0.02, 1.0 / 3.0};
  double aspect = 0.3;
  int count = 1;
  Fill fill = Fill::noise;
  std::array<double, 3> mean = {127.5, 127.5, 127.5};  // bytes; grey uses the first
  std::array<double, 3> deviation = {64, 64, 64};

  Image operator()(Image image, Random& random) const;

 private:
  void erase_one(Image& image, Random& random) const;
};

/// convert_channels as a transform.
struct ConvertChannels {
  std::int64_t channels = 3;
  Image operator()(Image image, Random& random) const;
};

}  // namespace replk
