#include "data/rand_augment.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "core/error.h"
#include "data/transforms.h"
#include "tests/data/data_support.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

namespace {

// The picture that Pillow's values were made from.
Image example(std::int64_t channels) {
  Image image = Image::filled(4, 5, channels);
  for (std::int64_t y = 0; y < 4; ++y)
    for (std::int64_t x = 0; x < 5; ++x)
      for (std::int64_t c = 0; c < channels; ++c)
        image.at(y, x, c) = static_cast<std::uint8_t>(y * 67 + x * 29 + c * 71 + x * y * 13 + x * x * 5);
  return image;
}

std::vector<AugmentOp> all_ops() {
  std::vector<AugmentOp> ops;
  for (int op = 0; op < kAugmentOps; ++op) ops.push_back(static_cast<AugmentOp>(op));
  return ops;
}

}  // namespace

TEST_CASE("data/image_ops/pillow") {
  // Made with Pillow 13; the arguments are those of level 9.
  struct Expected {
    AugmentOp op;
    double argument;
    Filter filter;
    std::int64_t channels;
    Bytes pixels;
  };
  const std::vector<Expected> cases = {
      {AugmentOp::auto_contrast, 0, Filter::bicubic, 3, {0,   65,  149, 36,  102, 184, 83,  148, 230, 141,
                                                         206, 18,  210, 2,   86,  71,  137, 219, 122, 187,
                                                         0,   183, 247, 59,  255, 46,  130, 63,  128, 210,
                                                         143, 208, 20,  207, 0,   83,  8,   74,  157, 94,
                                                         159, 241, 190, 255, 67,  215, 7,   91,  19,  85,
                                                         167, 108, 173, 255, 207, 0,   83,  43,  109, 192}},
      {AugmentOp::equalize, 0, Filter::bicubic, 3, {0,   71,  142, 34,  105, 176, 78,  149, 220, 132,
                                                    203, 18,  196, 11,  82,  67,  138, 209, 114, 185,
                                                    0,   171, 242, 57,  238, 53,  124, 59,  130, 201,
                                                    134, 205, 20,  194, 9,   80,  8,   79,  150, 88,
                                                    159, 230, 178, 249, 64,  201, 16,  87,  18,  89,
                                                    160, 101, 172, 243, 194, 9,   80,  41,  112, 183}},
      {AugmentOp::invert, 0, Filter::bicubic, 3, {255, 184, 113, 221, 150, 79, 177, 106, 35,  123, 52,  237,
                                                  59,  244, 173, 188, 117, 46, 141, 70,  255, 84,  13,  198,
                                                  17,  202, 131, 196, 125, 54, 121, 50,  235, 61,  246, 175,
                                                  247, 176, 105, 167, 96,  25, 77,  6,   191, 54,  239, 168,
                                                  237, 166, 95,  154, 83,  12, 61,  246, 175, 214, 143, 72}},
      {AugmentOp::rotate, -27, Filter::bicubic, 3, {68,  143, 226, 39,  130, 139, 63,  142, 169, 77,
                                                    167, 196, 12,  128, 200, 128, 210, 24,  185, 102,
                                                    15,  149, 250, 21,  221, 150, 68,  169, 95,  52,
                                                    122, 48,  98,  85,  21,  165, 1,   106, 176, 165,
                                                    112, 211, 57,  139, 200, 12,  128, 200, 68,  197,
                                                    255, 162, 63,  143, 136, 175, 130, 188, 255, 44}},
      {AugmentOp::posterize, 1, Filter::bicubic, 3, {0,   0, 128, 0, 0,   128, 0,   128, 128, 128, 128, 0,
                                                     128, 0, 0,   0, 128, 128, 0,   128, 0,   128, 128, 0,
                                                     128, 0, 0,   0, 128, 128, 128, 128, 0,   128, 0,   0,
                                                     0,   0, 128, 0, 128, 128, 128, 128, 0,   128, 0,   0,
                                                     0,   0, 128, 0, 128, 128, 128, 0,   0,   0,   0,   128}},
      {AugmentOp::solarize, 26, Filter::bicubic, 3, {0,   184, 113, 221, 150, 79,  177, 106, 35,  123,
                                                     52,  18,  59,  11,  173, 188, 117, 46,  141, 70,
                                                     0,   84,  13,  198, 17,  202, 131, 196, 125, 54,
                                                     121, 50,  20,  61,  9,   175, 8,   176, 105, 167,
                                                     96,  25,  77,  6,   191, 54,  16,  168, 18,  166,
                                                     95,  154, 83,  12,  61,  9,   175, 214, 143, 72}},
      {AugmentOp::solarize_add, 99, Filter::bicubic, 3, {99,  170, 142, 133, 204, 176, 177, 149, 220, 132,
                                                         203, 117, 196, 110, 181, 166, 138, 209, 213, 185,
                                                         99,  171, 242, 156, 238, 152, 223, 158, 130, 201,
                                                         134, 205, 119, 194, 108, 179, 107, 178, 150, 187,
                                                         159, 230, 178, 249, 163, 201, 115, 186, 117, 188,
                                                         160, 200, 172, 243, 194, 108, 179, 140, 211, 183}},
      {AugmentOp::color, 1.81, Filter::bicubic, 3, {0,   81,  210, 0,   115, 244, 31,  159, 255, 108,
                                                    237, 0,   255, 0,   88,  20,  148, 255, 90,  219,
                                                    0,   147, 255, 0,   255, 1,   130, 12,  140, 255,
                                                    110, 239, 0,   255, 0,   86,  0,   89,  218, 41,
                                                    169, 255, 154, 255, 0,   255, 0,   93,  0,   99,
                                                    228, 54,  182, 255, 255, 0,   86,  0,   122, 251}},
      {AugmentOp::contrast, 0.19, Filter::bicubic, 3, {95,  109, 122, 102, 115, 129, 110, 123, 137, 120,
                                                       134, 99,  132, 97,  111, 108, 121, 135, 117, 130,
                                                       95,  128, 141, 106, 140, 105, 119, 106, 120, 133,
                                                       121, 134, 99,  132, 97,  110, 97,  110, 124, 112,
                                                       125, 139, 129, 142, 107, 133, 98,  112, 99,  112,
                                                       125, 114, 128, 141, 132, 97,  110, 103, 116, 130}},
      {AugmentOp::brightness, 1.81, Filter::bicubic, 3, {0,   128, 255, 61,  190, 255, 141, 255, 255, 238,
                                                         255, 32,  255, 19,  148, 121, 249, 255, 206, 255,
                                                         0,   255, 255, 103, 255, 95,  224, 106, 235, 255,
                                                         242, 255, 36,  255, 16,  144, 14,  142, 255, 159,
                                                         255, 255, 255, 255, 115, 255, 28,  157, 32,  161,
                                                         255, 182, 255, 255, 255, 16,  144, 74,  202, 255}},
      {AugmentOp::sharpness, 1.81, Filter::bicubic, 3, {0,   71,  142, 34,  105, 176, 78,  149, 220, 132,
                                                        203, 18,  196, 11,  82,  67,  138, 209, 127, 214,
                                                        0,   200, 255, 22,  255, 3,   122, 59,  130, 201,
                                                        134, 205, 20,  240, 0,   62,  0,   61,  163, 70,
                                                        172, 255, 178, 249, 64,  201, 16,  87,  18,  89,
                                                        160, 101, 172, 243, 194, 9,   80,  41,  112, 183}},
      {AugmentOp::shear_x, 0.27, Filter::bicubic, 3, {3,   74,  145, 42,  113, 188, 88,  163, 196, 146,
                                                      182, 6,   202, 0,   88,  80,  151, 118, 137, 233,
                                                      0,   223, 166, 84,  175, 57,  164, 33,  141, 212,
                                                      202, 62,  50,  60,  30,  119, 35,  124, 233, 154,
                                                      225, 123, 12,  128, 200, 23,  80,  151, 91,  175,
                                                      246, 196, 13,  84,  49,  105, 176, 12,  128, 200}},
      {AugmentOp::shear_y, -0.27, Filter::bicubic, 3, {0,   64,  135, 22,  93,  201, 12,  128, 200, 12,
                                                       128, 200, 12,  128, 200, 51,  122, 219, 70,  177,
                                                       59,  119, 190, 160, 138, 194, 23,  214, 0,   66,
                                                       119, 216, 39,  194, 76,  18,  125, 196, 56,  234,
                                                       51,  135, 72,  88,  193, 193, 42,  74,  97,  39,
                                                       135, 14,  85,  193, 86,  155, 226, 165, 245, 82}},
      {AugmentOp::translate_x, 0.405, Filter::bicubic, 3, {80,  151, 215, 134, 199, 14,  197, 6,   83,  12,
                                                           128, 200, 12,  128, 200, 174, 238, 59,  235, 50,
                                                           127, 54,  131, 202, 12,  128, 200, 12,  128, 200,
                                                           5,   82,  153, 92,  163, 227, 180, 251, 60,  12,
                                                           128, 200, 12,  128, 200, 105, 169, 240, 192, 7,
                                                           78,  37,  114, 185, 12,  128, 200, 12,  128, 200}},
      {AugmentOp::translate_y,
       -0.405,
       Filter::bicubic,
       3,
       {12,  128, 200, 12,  128, 200, 12,  128, 200, 12,  128, 200, 12,  128, 200, 12,  128, 200, 12,  128,
        200, 12,  128, 200, 12,  128, 200, 12,  128, 200, 19,  90,  184, 57,  151, 101, 127, 198, 149, 185,
        136, 48,  133, 45,  139, 96,  190, 140, 171, 122, 0,   114, 185, 60,  186, 84,  193, 96,  204, 155}},
      {AugmentOp::auto_contrast, 0, Filter::bicubic, 1, {0,   36,  83, 141, 210, 71,  122, 183, 255, 63,
                                                         143, 207, 8,  94,  190, 215, 19,  108, 207, 43}},
      {AugmentOp::rotate, -27, Filter::bilinear, 1, {71,  59, 61, 89,  12, 131, 148, 152, 174, 163,
                                                     125, 97, 34, 158, 63, 12,  83,  147, 126, 169}},
      {AugmentOp::shear_y, -0.27, Filter::bilinear, 1, {0,   34,  12,  12,  12, 57,  81, 108, 137, 196,
                                                        124, 161, 118, 229, 88, 191, 89, 38,  93,  152}},
      {AugmentOp::sharpness, 1.81, Filter::bicubic, 1, {0,   34,  78, 132, 196, 67,  127, 200, 255, 59,
                                                        134, 240, 0,  70,  178, 201, 18,  101, 194, 41}},
      {AugmentOp::contrast, 0.19, Filter::bicubic, 1, {90,  97,  105, 115, 127, 103, 112, 123, 135, 101,
                                                       116, 127, 92,  107, 124, 128, 94,  109, 127, 98}},
  };
  for (const Expected& expected : cases) {
    INFO("operation " << static_cast<int>(expected.op) << ", " << expected.channels << " channels");
    const RandAugment augment{.filter = expected.filter, .fill = {12, 128, 200}};
    CHECK(augment.apply(expected.op, example(expected.channels), expected.argument).pixels ==
          expected.pixels);
  }
}

TEST_CASE("data/image_ops/equalize_by_pillow") {
  // The pictures above are too small for equalize to do anything.
  Image image = Image::filled(40, 40, 1);
  for (std::int64_t y = 0; y < 40; ++y)
    for (std::int64_t x = 0; x < 40; ++x)
      image.at(y, x, 0) = static_cast<std::uint8_t>((y * x + 3 * x) % 97 + 40);
  const Image result = equalize(image);
  const std::vector<int> fifth = {0, 25, 48, 71, 94, 115, 139, 158, 181, 201, 221, 243, 255, 23, 44, 68};
  for (std::int64_t x = 0; x < 16; ++x) CHECK(result.at(5, x, 0) == fifth[static_cast<std::size_t>(x)]);
  CHECK(equalize(Image::filled(40, 40, 3, 77)) == Image::filled(40, 40, 3, 77));
  CHECK(auto_contrast(Image::filled(4, 4, 1, 77)) == Image::filled(4, 4, 1, 77));
}

TEST_CASE("data/image_ops/what_changes_nothing") {
  const Image image = random_image(9, 7, 3, 1);
  for (const Filter filter : {Filter::bilinear, Filter::bicubic}) {
    CHECK(affine(image, {1, 0, 0, 0, 1, 0}, filter, {}) == image);
    CHECK(rotate(image, 0, filter, {}) == image);
  }
  for (const auto adjust : {adjust_brightness, adjust_contrast, adjust_color, adjust_sharpness})
    CHECK(adjust(image, 1) == image);
  CHECK(posterize(image, 8) == image);
  CHECK(posterize(image, 0) == Image::filled(9, 7, 3, 0));
  CHECK(solarize(image, 256) == image);
  CHECK(solarize(image, 0) == invert(image));
  const Image grey = random_image(9, 7, 1, 1);
  CHECK(adjust_color(grey, 0.1) == grey);
  const Image tiny = random_image(2, 2, 3, 1);  // nothing but border
  CHECK(adjust_sharpness(tiny, 0.1) == tiny);
}

TEST_CASE("data/image_ops/turns_and_shifts") {
  const Image image = random_image(6, 6, 3, 2);
  const Image turned = rotate(image, 90, Filter::bilinear, {});
  const Image right = affine(image, {1, 0, -2, 0, 1, 0}, Filter::bicubic, {1, 2, 3});
  for (std::int64_t y = 0; y < 6; ++y)
    for (std::int64_t x = 0; x < 6; ++x)
      for (std::int64_t c = 0; c < 3; ++c) {
        CHECK(turned.at(y, x, c) == image.at(x, 5 - y, c));  // counterclockwise
        CHECK(right.at(y, x, c) == (x < 2 ? c + 1 : image.at(y, x - 2, c)));
      }
}

TEST_CASE("data/image_ops/errors") {
  const Image two = random_image(3, 3, 2, 1), image = random_image(3, 3, 3, 1);
  check_error([&] { equalize(two); }, {"equalize", "1 or 3 channels", "3x3x2"});
  check_error([&] { affine(two, {1, 0, 0, 0, 1, 0}, Filter::bilinear, {}); }, {"affine", "3x3x2"});
  check_error([&] { affine(image, {NAN, 0, 0, 0, 1, 0}, Filter::bilinear, {}); }, {"affine", "finite"});
  check_error([&] { posterize(image, 9); }, {"posterize", "got 9"});
  check_error([&] { adjust_contrast(image, -0.5); }, {"adjust_contrast", "got -0.5"});
  Random random(1);
  check_error([&] { RandAugment{}(two, random); }, {"RandAugment", "3x3x2"});
}

TEST_CASE("data/rand_augment/levels") {
  struct Expected {
    AugmentOp op;
    double level, sign, plain, increasing;
  };
  // timm's tables by hand.
  const std::vector<Expected> cases = {{AugmentOp::auto_contrast, 9, 1, 0, 0},
                                       {AugmentOp::rotate, 9, 1, 27, 27},
                                       {AugmentOp::rotate, 10, -1, -30, -30},
                                       {AugmentOp::posterize, 0, 1, 0, 4},
                                       {AugmentOp::posterize, 9, 1, 3, 1},
                                       {AugmentOp::posterize, 9.99, 1, 3, 1},
                                       {AugmentOp::posterize, 10, -1, 4, 0},
                                       {AugmentOp::solarize, 9, -1, 230, 26},
                                       {AugmentOp::solarize, 10, 1, 256, 0},
                                       {AugmentOp::solarize_add, 9, -1, 99, 99},
                                       {AugmentOp::solarize_add, 0.1, 1, 1, 1},
                                       {AugmentOp::color, 9, 1, 1.72, 1.81},
                                       {AugmentOp::contrast, 9, -1, 1.72, 0.19},
                                       {AugmentOp::brightness, 10, -1, 1.9, 0.1},
                                       {AugmentOp::sharpness, 0, -1, 0.1, 1},
                                       {AugmentOp::shear_x, 9, -1, -0.27, -0.27},
                                       {AugmentOp::shear_y, 5, 1, 0.15, 0.15},
                                       {AugmentOp::translate_x, 9, 1, 0.405, 0.405},
                                       {AugmentOp::translate_y, 10, -1, -0.45, -0.45}};
  for (const Expected& e : cases) {
    INFO("operation " << static_cast<int>(e.op) << ", level " << e.level);
    CHECK(RandAugment{.increasing = false}.argument(e.op, e.level, e.sign) == Approx(e.plain));
    CHECK(RandAugment{.increasing = true}.argument(e.op, e.level, e.sign) == Approx(e.increasing));
  }
}

TEST_CASE("data/rand_augment/draws") {
  // A picture that every operation changes, each in its own way at level 9.
  Image image = random_image(24, 24, 3, 4);
  for (std::uint8_t& byte : image.pixels) byte = static_cast<std::uint8_t>(5 + byte / 2);
  const RandAugment augment{.magnitude = 9, .count = 1, .increasing = true};
  std::map<std::string, std::pair<int, double>> expected;  // operation and sign, by the pixels
  const auto key_of = [](const Image& i) { return std::string(i.pixels.begin(), i.pixels.end()); };
  for (const AugmentOp op : all_ops())
    for (const double sign : {-1, 1})
      expected[key_of(augment.apply(op, image, augment.argument(op, 9, sign)))] = {static_cast<int>(op),
                                                                                   sign};
  REQUIRE(expected.size() == 15 + 9);  // nine come with two signs
  std::map<std::pair<int, double>, int> seen;
  int unchanged = 0;
  constexpr int kDraws = 6000;
  for (std::uint64_t seed = 0; seed < kDraws; ++seed) {
    Random random(seed);
    const Image result = augment(image, random);
    if (result == image) {
      ++unchanged;
      continue;
    }
    const auto found = expected.find(key_of(result));
    REQUIRE(found != expected.end());
    ++seen[found->second];
  }
  CHECK(std::abs(unchanged - kDraws / 2) < 200);  // standard deviation 39
  CHECK(seen.size() == expected.size());
  std::map<int, int> by_op;
  for (const auto& [key, count] : seen) by_op[key.first] += count;
  for (const auto& [op, count] : by_op) CHECK(std::abs(count - kDraws / 30) < 70);  // standard deviation 14
  for (const auto& [key, count] : seen)
    if (count != by_op[key.first]) CHECK(std::abs(count - kDraws / 60) < 50);
}

TEST_CASE("data/rand_augment/levels_are_drawn_around_the_magnitude") {
  // Brightness turns a white picture into its factor: 1 - 0.09 level, where it is the one operation drawn.
  const Image white = Image::filled(3, 3, 1, 255);
  const auto levels = [&](RandAugment augment) {
    augment.count = 1, augment.probability = 1, augment.increasing = true;
    std::vector<double> found;
    for (std::uint64_t seed = 0; seed < 60000; ++seed) {
      Random choice(seed), random(seed);
      if (static_cast<AugmentOp>(choice.below(kAugmentOps)) != AugmentOp::brightness) continue;
      const double factor = augment(white, random).at(0, 0, 0) / 255.0;
      if (factor < 1) found.push_back((1 - factor) / 0.09);
    }
    REQUIRE(found.size() > 1700);
    return found;
  };
  const auto moments = [](const std::vector<double>& values) {
    double sum = 0, squares = 0;
    for (const double v : values) sum += v, squares += v * v;
    const double mean = sum / static_cast<double>(values.size());
    return std::pair(mean, std::sqrt(squares / static_cast<double>(values.size()) - mean * mean));
  };
  const auto [mean, deviation] = moments(levels({.magnitude = 5, .deviation = 0.5}));
  CHECK(mean == Approx(5).margin(0.05));
  CHECK(deviation == Approx(0.5).margin(0.05));
  const auto [uniform_mean, uniform_deviation] = moments(levels({.magnitude = 8, .deviation = 1000}));
  CHECK(uniform_mean == Approx(4).margin(0.2));
  CHECK(uniform_deviation == Approx(8 / std::sqrt(12.0)).margin(0.1));
  // Not increasing, the factor rises to 1.9 at level 10.
  const RandAugment wild{.magnitude = 10, .deviation = 3, .count = 1, .probability = 1};
  int brightest = 0;
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    Random choice(seed), random(seed);
    if (static_cast<AugmentOp>(choice.below(kAugmentOps)) != AugmentOp::brightness) continue;
    brightest = std::max<int>(brightest, wild(Image::filled(1, 1, 1, 100), random).at(0, 0, 0));
  }
  CHECK(brightest == 190);
}

TEST_CASE("data/rand_augment/parse") {
  const RandAugment published = RandAugment::parse("rand-m9-mstd0.5-inc1");
  CHECK(published.magnitude == 9);
  CHECK(published.deviation == 0.5);
  CHECK(published.count == 2);
  CHECK(published.probability == 0.5);
  CHECK(published.increasing);
  const RandAugment other = RandAugment::parse("rand-n3-m7");
  CHECK(other.count == 3);
  CHECK(other.magnitude == 7);
  CHECK(other.deviation == 0);
  CHECK_FALSE(other.increasing);
  for (const char* bad : {"", "v0", "rand-m11", "rand-q3", "rand-m", "rand-m9x", "rand--m9", "rand-n0",
                          "rand-w0", "rand-mmax8"}) {
    INFO(bad);
    CHECK_THROWS_AS(RandAugment::parse(bad), UsageError);
    check_error([&] { RandAugment::parse(bad); }, {"RandAugment", bad});
  }
}

TEST_CASE("data/transforms/color_jitter") {
  const Image image = random_image(8, 9, 3, 3);
  Random random(0);
  CHECK(ColorJitter{.strength = 0}(image, random) == image);
  check_error([&] { ColorJitter{.strength = -1}(image, random); }, {"ColorJitter", "-1"});
  double sum = 0, low = 9, high = 0;
  int coloured = 0;
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    Random each(seed);
    // On one shade of grey, contrast and colour have nothing to do.
    const double factor = ColorJitter{}(Image::filled(2, 2, 3, 150), each).at(0, 0, 0) / 150.0;
    sum += factor, low = std::min(low, factor), high = std::max(high, factor);
    Random same(seed);
    coloured += ColorJitter{}(image, same) != image;
  }
  CHECK(sum / 2000 == Approx(1).margin(0.02));
  CHECK(low == Approx(0.6).margin(0.01));
  CHECK(high == Approx(1.4).margin(0.01));
  CHECK(coloured == 2000);
  // The two halves' distance is the contrast, times the brightness that their mean shows.
  Image halves = Image::filled(2, 2, 3, 90);
  halves.at(0, 0, 0) = halves.at(0, 0, 1) = halves.at(0, 0, 2) = 110;
  double widest = 0;
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    Random each(seed);
    const Image result = ColorJitter{}(halves, each);
    widest = std::max(widest, (result.at(0, 0, 0) - result.at(1, 1, 0)) / 20.0);
  }
  CHECK(widest > 1.6);  // 1.4 * 1.4 at most
  CHECK(widest < 2.05);
}
