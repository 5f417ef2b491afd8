#include "data/rand_augment.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>

#include "core/error.h"

namespace replk {
namespace {

constexpr double kMaxLevel = 10;
constexpr double kUniformFrom = 100;  // a deviation above this asks for uniform levels

double number_in(const std::string& text, const std::string& part, std::size_t key, double low, double high) {
  double value = 0;
  const char* end = part.data() + part.size();
  const auto [stop, error] = std::from_chars(part.data() + key, end, value);
  if (error != std::errc() || stop != end || !(value >= low && value <= high))
    throw UsageError(str("RandAugment: a number from ", low, " to ", high, " expected after '",
                         part.substr(0, key), "' in '", text, "', got '", part.substr(key), "'."));
  return value;
}

}  // namespace

RandAugment RandAugment::parse(const std::string& text) {
  RandAugment result;
  std::istringstream parts(text);
  std::string part;
  std::getline(parts, part, '-');
  if (part != "rand")
    throw UsageError(str("RandAugment: something like 'rand-m9-mstd0.5-inc1' expected, got '", text, "'."));
  while (std::getline(parts, part, '-')) {
    const std::size_t key = std::min(part.find_first_of("0123456789."), part.size());
    const auto number = [&](double low, double high) { return number_in(text, part, key, low, high); };
    const std::string name = part.substr(0, key);
    if (name == "m")
      result.magnitude = number(0, kMaxLevel);
    else if (name == "mstd")
      result.deviation = number(0, 1e6);
    else if (name == "n")
      result.count = static_cast<int>(number(1, 100));
    else if (name == "inc")
      result.increasing = number(0, 1) != 0;
    else
      throw UsageError(
          str("RandAugment: m, mstd, n or inc with a number expected in '", text, "', got '", part, "'."));
  }
  return result;
}

double RandAugment::argument(AugmentOp op, double level, double sign) const {
  const double share = level / kMaxLevel;
  switch (op) {
    case AugmentOp::auto_contrast:
    case AugmentOp::equalize:
    case AugmentOp::invert:
      return 0;
    case AugmentOp::rotate:
      return sign * (share * 30);
    case AugmentOp::posterize: {
      const double bits = std::trunc(share * 4);
      return increasing ? 4 - bits : bits;
    }
    case AugmentOp::solarize: {
      const double threshold = std::trunc(share * 256);
      return increasing ? 256 - threshold : threshold;
    }
    case AugmentOp::solarize_add:
      return std::trunc(share * 110);
    case AugmentOp::color:
    case AugmentOp::contrast:
    case AugmentOp::brightness:
    case AugmentOp::sharpness:
      return increasing ? std::max(0.1, 1 + sign * (share * 0.9)) : share * 1.8 + 0.1;
    case AugmentOp::shear_x:
    case AugmentOp::shear_y:
      return sign * (share * 0.3);
    case AugmentOp::translate_x:
    case AugmentOp::translate_y:
      return sign * (share * 0.45);
  }
  return 0;
}

Image RandAugment::apply(AugmentOp op, Image image, double argument) const {
  const auto moved = [&](const std::array<double, 6>& m) { return affine(image, m, filter, fill); };
  switch (op) {
    case AugmentOp::auto_contrast:
      return auto_contrast(std::move(image));
    case AugmentOp::equalize:
      return equalize(std::move(image));
    case AugmentOp::invert:
      return invert(std::move(image));
    case AugmentOp::rotate:
      return rotate(image, argument, filter, fill);
    case AugmentOp::posterize:
      return posterize(std::move(image), static_cast<int>(argument));
    case AugmentOp::solarize:
      return solarize(std::move(image), static_cast<int>(argument));
    case AugmentOp::solarize_add:
      return solarize_add(std::move(image), static_cast<int>(argument));
    case AugmentOp::color:
      return adjust_color(std::move(image), argument);
    case AugmentOp::contrast:
      return adjust_contrast(std::move(image), argument);
    case AugmentOp::brightness:
      return adjust_brightness(std::move(image), argument);
    case AugmentOp::sharpness:
      return adjust_sharpness(std::move(image), argument);
    case AugmentOp::shear_x:
      return moved({1, argument, 0, 0, 1, 0});
    case AugmentOp::shear_y:
      return moved({1, 0, 0, argument, 1, 0});
    case AugmentOp::translate_x:
      return moved({1, 0, argument * static_cast<double>(image.width), 0, 1, 0});
    case AugmentOp::translate_y:
      return moved({1, 0, 0, 0, 1, argument * static_cast<double>(image.height)});
  }
  return image;
}

Image RandAugment::operator()(Image image, Random& random) const {
  check(image.channels == 1 || image.channels == 3, "RandAugment: 1 or 3 channels expected, got ", image,
        ".");
  for (int i = 0; i < count; ++i) {
    const auto op = static_cast<AugmentOp>(random.below(kAugmentOps));
    // Everything is drawn whether it is used or not, so that what one operation needs does not depend on what
    // became of those before it.
    const bool happens = random.uniform() < probability;
    const double drawn =
        deviation > kUniformFrom ? random.uniform(0, magnitude) : magnitude + deviation * random.normal();
    const double sign = random.uniform() < 0.5 ? -1 : 1;
    if (happens) image = apply(op, std::move(image), argument(op, std::clamp(drawn, 0.0, kMaxLevel), sign));
  }
  return image;
}

}  // namespace replk
