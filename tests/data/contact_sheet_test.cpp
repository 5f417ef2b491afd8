#include "data/contact_sheet.h"

#include <algorithm>
#include <cmath>
#include <fstream>

#include "core/error.h"
#include "core/parallel.h"
#include "data/codec.h"
#include "data/font.h"
#include "data/resize.h"
#include "data/statistics.h"
#include "tests/data/data_support.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

namespace {

std::int64_t ink(const Image& image) {
  return std::count(image.pixels.begin(), image.pixels.end(), std::uint8_t{0});
}

Image written(std::string_view text, std::int64_t width = 600) {
  Image image = Image::filled(kFontHeight, width, 1, 255);
  draw_text(image, text, 0, 0, width);
  return image;
}

}  // namespace

TEST_CASE("data/font/glyphs") {
  const std::string_view drawn = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_/.,:%()+&'";
  for (const char a : drawn) {
    INFO(a);
    const Image glyph = written({&a, 1});
    CHECK(ink(glyph) >= 2);
    CHECK(ink(glyph) < 24);
    for (const char b : drawn)
      if (a != b) CHECK(glyph != written({&b, 1}));
    // The last column of the glyph's cell stays free, and nothing is drawn beyond.
    for (std::int64_t y = 0; y < kFontHeight; ++y) CHECK(glyph.at(y, kFontAdvance - 1, 0) == 255);
  }
  CHECK(ink(written(" ")) == 0);
  CHECK(written("bag") == written("BAG"));
  CHECK(written("\xc3\xa9") == written("##"));  // unknown ones are boxes
}

TEST_CASE("data/font/is_cut_at_its_width_and_at_the_edges") {
  Image image = Image::filled(kFontHeight, 60, 3, 255);
  draw_text(image, "HHHHHHHHHH", 0, 0, 17);  // 5 + 1 + 5 + 1 + 5
  Image three = Image::filled(kFontHeight, 60, 3, 255);
  draw_text(three, "HHH", 0, 0, 60);
  CHECK(image == three);
  draw_text(image, "HHHH", -3, -8, 1000);
  draw_text(image, "HHHH", 5, 55, 1000);
}

TEST_CASE("data/contact_sheet/layout") {
  const auto dataset = random_dataset(30, 8, 8, 1);
  const Image sheet = contact_sheet(*dataset, 4, 5, 16);
  CHECK(sheet.channels == 3);
  CHECK(sheet.width == 4 + 5 * (16 + 4));
  CHECK(sheet.height == 4 + 4 * (16 + kFontHeight + 4 + 4));
  CHECK(sheet.at(0, 0, 0) == 255);
  // Row 1, column 2 shows class 1 ("b"): its samples are 1, 4, ..., 28, of which the fifth is 13.
  const Image tile = resize(convert_channels(dataset->get(13).image, 3), 16, 16);
  CHECK(crop(sheet, {4 + 31, 4 + 2 * 20, 16, 16}) == tile);
  Image caption = Image::filled(kFontHeight, 16, 3, 255);
  draw_text(caption, "B", 0, 0, 16);
  CHECK(crop(sheet, {4 + 31 + 16 + 2, 4 + 2 * 20, kFontHeight, 16}) == caption);
  // Row 3 is class 0 again, with samples that row 0 did not show.
  CHECK(crop(sheet, {4 + 3 * 31, 4, 16, 16}) != crop(sheet, {4, 4, 16, 16}));
  CHECK(decode_image(encode_png(sheet), "sheet") == sheet);
}

TEST_CASE("data/contact_sheet/proportions_and_errors") {
  const Image sheet =
      tile_images({{random_image(10, 40, 3, 1), "wide"}, {random_image(40, 1, 1, 1), ""}}, 2, 20);
  CHECK(sheet.width == 4 + 2 * 24);
  CHECK(sheet.at(4, 4, 0) == 255);  // above the wide picture, which is 5 high, in the middle
  CHECK(crop(sheet, {4 + 7, 4, 5, 20}) == resize(random_image(10, 40, 3, 1), 5, 20));
  CHECK_NOTHROW(contact_sheet(*random_dataset(2, 3, 3, 3), 5, 4));  // fewer samples than places
  check_error([] { tile_images({}, 1); }, {"tile_images", "0 tiles"});
  check_error([] { contact_sheet(*random_dataset(2, 3, 3, 3), 0, 4); },
              {"contact_sheet", "at least one row"});
}

TEST_CASE("data/statistics/by_definition") {
  const auto dataset = random_dataset(31, 5, 4, 3);
  const auto statistics = dataset_statistics(*dataset);
  CHECK(statistics.class_counts == std::vector<std::int64_t>{11, 10, 10});
  CHECK(statistics.images == 31);
  CHECK(statistics.sizes == decltype(statistics.sizes){{{5, 4, 3}, 31}});
  for (std::int64_t c = 0; c < 3; ++c) {
    double sum = 0, squares = 0;
    for (std::int64_t i = 0; i < 31; ++i)
      for (std::int64_t y = 0; y < 5; ++y)
        for (std::int64_t x = 0; x < 4; ++x) sum += dataset->get(i).image.at(y, x, c) / 255.0;
    const double mean = sum / (31 * 20);
    for (std::int64_t i = 0; i < 31; ++i)
      for (std::int64_t y = 0; y < 5; ++y)
        for (std::int64_t x = 0; x < 4; ++x)
          squares += std::pow(dataset->get(i).image.at(y, x, c) / 255.0 - mean, 2);
    CHECK(statistics.mean[static_cast<std::size_t>(c)] == Approx(mean).epsilon(1e-12));
    CHECK(statistics.deviation[static_cast<std::size_t>(c)] ==
          Approx(std::sqrt(squares / (31 * 20))).epsilon(1e-12));
  }
  CHECK(dataset_statistics(*dataset, 7).images == 7);
  const int threads = num_threads();
  set_num_threads(3);
  CHECK(dataset_statistics(*dataset).mean == statistics.mean);
  set_num_threads(threads);
}
