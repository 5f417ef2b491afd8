#include "data/transforms.h"

#include <cmath>

#include "core/error.h"
#include "tests/data/data_support.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

namespace {

double kernel(Filter filter, double d) {
  d = std::abs(d);
  if (filter == Filter::bilinear) return d < 1 ? 1 - d : 0;
  if (d < 1) return 1.5 * d * d * d - 2.5 * d * d + 1;
  if (d < 2) return -0.5 * d * d * d + 2.5 * d * d - 4 * d + 2;
  return 0;
}

// Normalised weights of all source positions for target position i.
std::vector<double> weights(Filter filter, std::int64_t from, std::int64_t to, std::int64_t i) {
  const double scale = static_cast<double>(from) / static_cast<double>(to), stretch = std::max(scale, 1.0);
  std::vector<double> result;
  double sum = 0;
  for (std::int64_t k = 0; k < from; ++k) {
    const double position = (static_cast<double>(i) + 0.5) * scale - 0.5;
    result.push_back(kernel(filter, (static_cast<double>(k) - position) / stretch));
    sum += result.back();
  }
  for (double& weight : result) weight /= sum;
  return result;
}

// The pixel (y, x, c) of a resized picture in double; between the passes values are clamped, not rounded.
double resized(const Image& image, Filter filter, std::int64_t height, std::int64_t width, std::int64_t y,
               std::int64_t x, std::int64_t c) {
  const auto down = weights(filter, image.height, height, y), across = weights(filter, image.width, width, x);
  double sum = 0;
  for (std::int64_t i = 0; i < image.height; ++i) {
    double row = 0;
    for (std::int64_t j = 0; j < image.width; ++j)
      row += across[static_cast<std::size_t>(j)] * image.at(i, j, c);
    sum += down[static_cast<std::size_t>(i)] * std::clamp(row, 0.0, 255.0);
  }
  return std::clamp(sum, 0.0, 255.0);
}

double largest_difference(const Image& image, Filter filter, std::int64_t height, std::int64_t width) {
  const Image result = resize(image, height, width, filter);
  REQUIRE(result.height == height);
  REQUIRE(result.width == width);
  double largest = 0;
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x)
      for (std::int64_t c = 0; c < image.channels; ++c)
        largest =
            std::max(largest, std::abs(result.at(y, x, c) - resized(image, filter, height, width, y, x, c)));
  return largest;
}

Image mirrored(const Image& image) {
  Image result = image;
  for (std::int64_t y = 0; y < image.height; ++y)
    for (std::int64_t x = 0; x < image.width; ++x)
      for (std::int64_t c = 0; c < image.channels; ++c)
        result.at(y, x, c) = image.at(y, image.width - 1 - x, c);
  return result;
}

// The pixel at (y, x), or `fill` outside.
std::uint8_t padded(const Image& image, std::int64_t y, std::int64_t x, std::int64_t c, std::uint8_t fill) {
  const bool inside = y >= 0 && y < image.height && x >= 0 && x < image.width;
  return inside ? image.at(y, x, c) : fill;
}

// Where a crop was taken from; fails when it is no crop of the padded picture.
std::pair<std::int64_t, std::int64_t> find_crop(const Image& image, const Image& part, std::int64_t padding,
                                                std::uint8_t fill) {
  for (std::int64_t top = -padding; top + part.height <= image.height + padding; ++top)
    for (std::int64_t left = -padding; left + part.width <= image.width + padding; ++left) {
      bool equal = true;
      for (std::int64_t y = 0; equal && y < part.height; ++y)
        for (std::int64_t x = 0; equal && x < part.width; ++x)
          for (std::int64_t c = 0; c < part.channels; ++c)
            equal = equal && part.at(y, x, c) == padded(image, top + y, left + x, c, fill);
      if (equal) return {top, left};
    }
  FAIL("not a crop of the padded picture");
  return {};
}

Random any() { return Random(0); }

}  // namespace

TEST_CASE("data/resize/by_definition") {
  struct Size {
    std::int64_t height, width;
  };
  for (const std::int64_t channels : {1, 2, 3, 4})
    for (const Size from : {Size{1, 1}, {7, 5}, {24, 31}})
      for (const Size to : {Size{1, 1}, {3, 4}, {7, 5}, {8, 6}, {40, 17}})
        for (const Filter filter : {Filter::bilinear, Filter::bicubic}) {
          INFO(from.height << "x" << from.width << "x" << channels << " to " << to.height << "x" << to.width
                           << (filter == Filter::bilinear ? " bilinear" : " bicubic"));
          const Image image = random_image(from.height, from.width, channels, 11);
          // Half a step from each rounding, the first of them times the weights' sum of magnitudes.
          CHECK(largest_difference(image, filter, to.height, to.width) < 0.5 + 0.5 * 1.5);
        }
}

TEST_CASE("data/resize/pillow") {
  // Made with Pillow 10.4 from the same formula.
  struct Expected {
    Filter filter;
    std::int64_t height, width;
    Bytes pixels;
  };
  const std::vector<Expected> cases = {
      {Filter::bilinear,
       3,
       2,
       {47, 118, 174, 78, 149, 167, 133, 172, 115, 156, 111, 93, 134, 82, 113, 87, 118, 158}},
      {Filter::bilinear, 9, 4, {3,   74,  145, 16,  87,  158, 28,  99,  170, 41,  112, 183, 28,  99,
                                170, 45,  116, 187, 61,  132, 203, 78,  149, 220, 58,  129, 200, 80,
                                151, 174, 100, 171, 128, 122, 193, 150, 88,  159, 215, 114, 185, 116,
                                139, 177, 25,  165, 180, 51,  118, 189, 196, 148, 219, 34,  178, 100,
                                64,  209, 24,  95,  148, 219, 76,  182, 170, 68,  217, 56,  103, 102,
                                67,  138, 177, 106, 63,  157, 98,  102, 114, 71,  142, 68,  110, 181,
                                185, 22,  93,  94,  66,  137, 39,  110, 181, 83,  154, 161, 168, 47,
                                118, 24,  95,  166, 72,  143, 214, 120, 191, 70}},
      {Filter::bicubic,
       3,
       2,
       {39, 113, 177, 76, 153, 169, 138, 184, 114, 165, 107, 82, 139, 75, 109, 80, 119, 164}},
      {Filter::bicubic, 9, 4, {0,   71,  142, 13,  84,  155, 27,  98,  169, 39,  110, 181, 24,  95,  165, 42,
                               113, 191, 59,  130, 221, 77,  148, 237, 56,  127, 207, 79,  149, 187, 101, 181,
                               126, 124, 210, 156, 85,  156, 235, 113, 188, 120, 140, 186, 0,   171, 191, 36,
                               115, 186, 208, 146, 232, 24,  180, 94,  66,  211, 13,  97,  143, 244, 65,  187,
                               183, 62,  244, 35,  105, 87,  63,  141, 185, 105, 48,  169, 91,  101, 106, 60,
                               143, 52,  115, 199, 199, 1,   91,  92,  55,  137, 14,  116, 188, 87,  161, 165,
                               178, 45,  116, 8,   95,  166, 77,  147, 227, 127, 198, 52}}};
  Image image = Image::filled(7, 5, 3);
  for (std::int64_t y = 0; y < 7; ++y)
    for (std::int64_t x = 0; x < 5; ++x)
      for (std::int64_t c = 0; c < 3; ++c)
        image.at(y, x, c) = static_cast<std::uint8_t>(y * 37 + x * 11 + c * 71 + x * y * 5);
  for (const Expected& expected : cases)
    CHECK(resize(image, expected.height, expected.width, expected.filter).pixels == expected.pixels);
  const Bytes grey = convert_channels(image, 1).pixels;
  CHECK(Bytes(grey.begin(), grey.begin() + 10) == Bytes{58, 69, 80, 91, 102, 95, 111, 127, 143, 159});
}

TEST_CASE("data/resize/box_and_errors") {
  const Image image = random_image(20, 30, 3, 5);
  const Box box{4, 7, 11, 13};
  for (const Filter filter : {Filter::bilinear, Filter::bicubic})
    CHECK(resize(image, box, 8, 17, filter) == resize(crop(image, box), 8, 17, filter));
  CHECK(resize(image, box, 11, 13) == crop(image, box));
  CHECK(resize(Image::filled(9, 9, 1, 200), 4, 23, Filter::bicubic) == Image::filled(4, 23, 1, 200));
  check_error([&] { resize(image, 0, 5); }, {"resize", "0x5"});
  check_error([&] { resize(image, {0, 0, 21, 5}, 5, 5); }, {"resize", "20x30x3", "21x5 at (0, 0)"});
  check_error([&] { crop(image, {-1, 0, 5, 5}); }, {"crop", "5x5 at (-1, 0)"});
}

TEST_CASE("data/transforms/sizes") {
  Random random = any();
  CHECK(Resize{.size = {5, 9}}(random_image(7, 7, 3, 1), random).width == 9);
  const Image tall = ResizeShorterSide{.size = 10}(random_image(31, 20, 1, 1), random);
  CHECK(tall.height == 15);  // 15.5 rounded down
  CHECK(tall.width == 10);
  CHECK(ConvertChannels{.channels = 1}(random_image(3, 3, 3, 1), random).channels == 1);
  const Image grey = random_image(3, 4, 1, 1);
  const Image colour = ConvertChannels{}(grey, random);
  CHECK(colour.channels == 3);
  CHECK(colour.at(2, 3, 0) == grey.at(2, 3, 0));
  CHECK(colour.at(2, 3, 2) == grey.at(2, 3, 0));
  CHECK(ConvertChannels{.channels = 1}(colour, random) == grey);
}

TEST_CASE("data/transforms/center_crop") {
  Random random = any();
  const Image image = random_image(9, 12, 3, 2);
  // (9 - 4) / 2 = 2.5 -> 2, (12 - 5) / 2 = 3.5 -> 4: ties to even, as torchvision does.
  CHECK(CenterCrop{.size = {4, 5}}(image, random) == crop(image, {2, 4, 4, 5}));
  CHECK(CenterCrop{.size = {9, 12}}(image, random) == image);
  const Image padded_image = CenterCrop{.size = {12, 6}, .fill = 9}(image, random);
  // 3 rows too few: one above, two below.
  CHECK(find_crop(image, padded_image, 3, 9) == std::pair<std::int64_t, std::int64_t>{-1, 3});
}

TEST_CASE("data/transforms/random_crop") {
  const Image image = random_image(6, 8, 1, 3);
  const RandomCrop transform{.padding = {2, 1}, .fill = 17};
  std::vector<int> seen(5 * 3);
  for (std::uint64_t seed = 0; seed < 600; ++seed) {
    Random random(seed);
    const Image part = transform(image, random);
    REQUIRE(part.height == 6);
    REQUIRE(part.width == 8);
    const auto [top, left] = find_crop(image, part, 2, 17);
    REQUIRE(std::abs(top) <= 2);
    REQUIRE(std::abs(left) <= 1);
    ++seen[static_cast<std::size_t>((top + 2) * 3 + left + 1)];
  }
  for (const int count : seen) CHECK(count > 15);  // 40 expected, standard deviation 6
  Random random = any();
  CHECK(RandomCrop{.size = {3, 2}}(image, random).height == 3);
  check_error([&] { RandomCrop{.size = 11, .padding = 1}(image, random); }, {"RandomCrop", "6x8x1", "11x11"});
}

TEST_CASE("data/transforms/horizontal_flip") {
  const Image odd = random_image(4, 5, 3, 1), even = random_image(3, 6, 1, 1);
  Random random = any();
  CHECK(HorizontalFlip{.probability = 1}(odd, random) == mirrored(odd));
  CHECK(HorizontalFlip{.probability = 1}(even, random) == mirrored(even));
  CHECK(HorizontalFlip{.probability = 0}(odd, random) == odd);
  int flipped = 0;
  for (std::uint64_t seed = 0; seed < 1000; ++seed) {
    Random each(seed);
    flipped += HorizontalFlip{}(odd, each) != odd;
  }
  CHECK(std::abs(flipped - 500) < 80);  // five standard deviations
}

TEST_CASE("data/transforms/random_resized_crop") {
  const RandomResizedCrop transform{.size = {16, 16}};
  constexpr std::int64_t kHeight = 300, kWidth = 400;
  constexpr int kDraws = 20000;
  double area = 0, proportion = 0, smallest = 1, largest = 0;
  double top = 0;
  for (std::uint64_t seed = 0; seed < kDraws; ++seed) {
    Random random(seed);
    const Box box = transform.choose(kHeight, kWidth, random);
    REQUIRE(box.top >= 0);
    REQUIRE(box.left >= 0);
    REQUIRE(box.top + box.height <= kHeight);
    REQUIRE(box.left + box.width <= kWidth);
    const double fraction = static_cast<double>(box.height * box.width) / (kHeight * kWidth);
    const double ratio = static_cast<double>(box.width) / static_cast<double>(box.height);
    REQUIRE(ratio > 0.74);
    REQUIRE(ratio < 1.35);
    area += fraction;
    smallest = std::min(smallest, fraction);
    largest = std::max(largest, fraction);
    proportion += std::log(ratio);
    if (box.height < kHeight) top += static_cast<double>(box.top) / static_cast<double>(kHeight - box.height);
  }
  // Large narrow parts do not fit and are drawn again, so the mean area lies below that of the uniform law,
  // 0.54. The two numbers come from two million draws of the rule written independently, in Python.
  INFO("area " << area / kDraws << ", log proportion " << proportion / kDraws << ", top " << top / kDraws);
  CHECK(area / kDraws == Approx(0.4333).margin(0.008));
  CHECK(proportion / kDraws == Approx(0.0308).margin(0.006));
  CHECK(smallest == Approx(0.08).margin(0.002));
  CHECK(largest > 0.98);

  // Nothing fits into a strip: the middle of it, as large as the ratio allows.
  Random random = any();
  CHECK(transform.choose(10, 1000, random) == Box{0, (1000 - 13) / 2, 10, 13});
  CHECK(transform.choose(1000, 12, random) == Box{(1000 - 16) / 2, 0, 16, 12});
  const Box wide =
      RandomResizedCrop{.size = 8, .scale = {0.1, 0.1}, .ratio = {2, 2}}.choose(100, 100, random);
  CHECK(wide.width == 45);  // sqrt(1000 * 2)
  CHECK(wide.height == 22);
  CHECK(RandomResizedCrop{.size = {16, 9}}(random_image(40, 30, 3, 1), random).width == 9);
  check_error(
      [&] {
        RandomResizedCrop{.size = 4, .scale = {0.5, 0.1}}(random_image(4, 4, 1, 1), random);
      },
      {"RandomResizedCrop", "a scale", "0.5"});
}

TEST_CASE("data/transforms/random_erasing") {
  const Image image = Image::filled(40, 60, 3, 1);
  double erased_area = 0;
  int erased_images = 0;
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    Random random(seed);
    const Image result =
        RandomErasing{.fill = RandomErasing::Fill::constant, .mean = {10, 20, 30}}(image, random);
    std::int64_t top = 40, bottom = -1, left = 60, right = -1, count = 0;
    for (std::int64_t y = 0; y < 40; ++y)
      for (std::int64_t x = 0; x < 60; ++x) {
        if (result.at(y, x, 0) == 1) continue;
        REQUIRE(result.at(y, x, 0) == 10);
        REQUIRE(result.at(y, x, 1) == 20);
        REQUIRE(result.at(y, x, 2) == 30);
        ++count;
        top = std::min(top, y), bottom = std::max(bottom, y), left = std::min(left, x),
        right = std::max(right, x);
      }
    if (count == 0) continue;
    ++erased_images;
    REQUIRE(count == (bottom - top + 1) * (right - left + 1));  // one full rectangle
    const double fraction = static_cast<double>(count) / 2400;
    REQUIRE(fraction > 0.015);
    REQUIRE(fraction < 0.35);
    erased_area += fraction;
  }
  CHECK(std::abs(erased_images - 500) < 100);  // a quarter; standard deviation 19
  CHECK(erased_area / erased_images == Approx((0.02 + 1.0 / 3) / 2).margin(0.03));
}

TEST_CASE("data/transforms/random_erasing_noise") {
  const Image image = Image::filled(64, 64, 1, 0);
  double sum = 0, squares = 0, count = 0;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    Random random(seed);
    const Image result =
        RandomErasing{.probability = 1, .mean = {120, 0, 0}, .deviation = {20, 0, 0}}(image, random);
    for (const double value : result.pixels) {
      if (value == 0) continue;
      sum += value, squares += value * value, ++count;
    }
  }
  REQUIRE(count > 5000);
  CHECK(sum / count == Approx(120).margin(1));
  CHECK(std::sqrt(squares / count - sum / count * (sum / count)) == Approx(20).margin(1));
}

TEST_CASE("data/transforms/random_erasing_of_several_rectangles") {
  const Image image = Image::filled(64, 64, 1, 0);
  double one = 0, three = 0;
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    const auto erased = [&](int count) {
      Random random(seed);
      const Image result = RandomErasing{.probability = 1,
                                         .count = count,
                                         .fill = RandomErasing::Fill::constant,
                                         .mean = {9, 9, 9}}(image, random);
      return static_cast<double>(std::count(result.pixels.begin(), result.pixels.end(), 9)) / 4096;
    };
    one += erased(1) / 400;
    three += erased(3) / 400;
    REQUIRE(erased(3) < 0.35);
  }
  // Together as large as one, less where they overlap.
  CHECK(one == Approx(0.177).margin(0.015));
  CHECK(three == Approx(0.165).margin(0.015));
  Random random = any();
  check_error([&] { RandomErasing{.count = 0}(image, random); }, {"RandomErasing", "count", "got 0"});
}

TEST_CASE("data/transforms/pipeline") {
  const Image image = random_image(8, 8, 3, 1);
  Pipeline pipeline{RandomCrop{.padding = 2}, HorizontalFlip{.probability = 1}};
  pipeline.add(ConvertChannels{.channels = 1});
  CHECK(pipeline.size() == 3);
  Random random(5), same(5);
  const Image expected = convert_channels(mirrored(RandomCrop{.padding = 2}(image, same)), 1);
  CHECK(pipeline(image, random) == expected);
  CHECK(Pipeline{}(image, random) == image);
}
