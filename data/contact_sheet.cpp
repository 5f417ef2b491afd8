#include "data/contact_sheet.h"

#include <algorithm>

#include "core/error.h"
#include "data/font.h"
#include "data/resize.h"

namespace replk {
namespace {

constexpr std::int64_t kGap = 4;                    // pixels around a tile
constexpr std::int64_t kCaption = kFontHeight + 4;  // height of a caption with some air
constexpr std::int64_t kMaxSheetPixels = std::int64_t{1} << 26;

void paste(const Image& from, Image& onto, std::int64_t top, std::int64_t left) {
  for (std::int64_t y = 0; y < from.height; ++y)
    std::copy_n(from.row(y), from.width * from.channels, onto.row(top + y) + left * onto.channels);
}

// The picture in RGB, its longer side `side` long.
Image fit(const Image& image, std::int64_t side) {
  const std::int64_t longer = std::max(image.height, image.width);
  const auto scaled = [&](std::int64_t extent) { return std::max<std::int64_t>(extent * side / longer, 1); };
  return resize(convert_channels(image, 3), scaled(image.height), scaled(image.width), Filter::bilinear);
}

}  // namespace

Image tile_images(const std::vector<Tile>& tiles, std::int64_t columns, std::int64_t side) {
  constexpr std::int64_t kMaxSide = 1024, kMaxColumns = 1024;
  check(!tiles.empty() && columns >= 1 && columns <= kMaxColumns && side >= 8 && side <= kMaxSide,
        "tile_images: at least one tile, 1 to ", kMaxColumns, " columns and a side in [8, ", kMaxSide,
        "] expected, got ", tiles.size(), " tiles, ", columns, " columns, side ", side, ".");
  const auto count = static_cast<std::int64_t>(tiles.size());
  const std::int64_t rows = (count + columns - 1) / columns;
  const std::int64_t tile_height = side + kCaption + kGap, tile_width = side + kGap;
  const std::int64_t height = kGap + rows * tile_height, width = kGap + columns * tile_width;
  check(height <= kMaxSheetPixels / width, "tile_images: at most ", kMaxSheetPixels,
        " pixels expected on a sheet, got ", height, "x", width, ". Use fewer rows.");
  Image sheet = Image::filled(height, width, 3, 255);
  for (std::int64_t i = 0; i < count; ++i) {
    const Tile& tile = tiles[static_cast<std::size_t>(i)];
    const std::int64_t top = kGap + i / columns * tile_height, left = kGap + i % columns * tile_width;
    const Image picture = fit(tile.image, side);
    paste(picture, sheet, top + (side - picture.height) / 2, left + (side - picture.width) / 2);
    draw_text(sheet, tile.caption, top + side + 2, left, side);
  }
  return sheet;
}

Image contact_sheet(const Dataset& dataset, std::int64_t rows, std::int64_t columns, std::int64_t side) {
  check(rows >= 1 && columns >= 1 && dataset.size() >= 1,
        "contact_sheet: at least one row, one column and one sample expected, got ", rows, ", ", columns,
        " and ", dataset.size(), ".");
  std::vector<std::vector<std::int64_t>> by_class(dataset.classes().size());
  for (std::int64_t i = 0; i < dataset.size(); ++i)
    by_class[static_cast<std::size_t>(dataset.label(i))].push_back(i);
  std::erase_if(by_class, [](const auto& samples) { return samples.empty(); });

  const auto classes = static_cast<std::int64_t>(by_class.size());
  std::vector<Tile> tiles;
  for (std::int64_t row = 0; row < rows; ++row) {
    const auto& samples = by_class[static_cast<std::size_t>(row % classes)];
    const auto have = static_cast<std::int64_t>(samples.size());
    // Row `row` is the (row / classes)-th of its class: of all places in those rows, it takes its own.
    const std::int64_t rows_of_class = (rows - row % classes + classes - 1) / classes;
    const std::int64_t places = rows_of_class * columns;
    for (std::int64_t column = 0; column < columns; ++column) {
      const std::int64_t place = row / classes * columns + column;
      const std::int64_t chosen = have >= places ? place * have / places : place % have;
      const Sample sample = dataset.get(samples[static_cast<std::size_t>(chosen)]);
      tiles.push_back({sample.image, dataset.classes()[static_cast<std::size_t>(sample.label)]});
    }
  }
  return tile_images(tiles, columns, side);
}

}  // namespace replk
