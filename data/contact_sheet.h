// Contact sheets: many pictures on one, each with its caption.
#pragma once

#include <string>
#include <vector>

#include "data/dataset.h"

namespace replk {

struct Tile {
  Image image;
  std::string caption;
};

/// Tiles in rows of `columns`, each picture enlarged or shrunk to fit `side` x `side` with its caption below,
/// on white, in RGB. Letters come out as capitals; a caption that is too wide is cut.
Image tile_images(const std::vector<Tile>& tiles, std::int64_t columns, std::int64_t side = 72);

/// `rows` x `columns` samples with their class names: row r shows samples of class r (starting again after
/// the last class), spread evenly over the data set. Classes without samples are passed over.
Image contact_sheet(const Dataset& dataset, std::int64_t rows, std::int64_t columns, std::int64_t side = 72);

}  // namespace replk
