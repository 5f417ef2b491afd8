#include "scripts/replk/batch_pictures.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <span>

#include "core/error.h"
#include "data/codec.h"
#include "data/contact_sheet.h"
#include "io/atomic_file.h"

namespace replk {
namespace {

constexpr std::int64_t kPictures = 64, kColumns = 8, kSmallestSide = 120, kLargestSide = 224;

std::string caption_of(const Batch& batch, std::int64_t n, const std::vector<std::string>& classes) {
  const auto label = static_cast<std::size_t>(batch.labels.data<std::int64_t>()[n]);
  if (!batch.targets.defined()) return classes[label];
  // What label smoothing gives every class, the least of all, is no share of a picture.
  const float* row = batch.targets.data<float>() + n * static_cast<std::int64_t>(classes.size());
  const std::span<const float> shares(row, classes.size());
  const float least = *std::min_element(shares.begin(), shares.end());
  const float all =
      std::accumulate(shares.begin(), shares.end(), -least * static_cast<float>(classes.size()));
  std::vector<std::size_t> order(classes.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return shares[a] > shares[b]; });
  const auto percent = [&](std::size_t k) { return 100 * (shares[order[k]] - least) / all; };
  if (classes.size() < 2 || percent(1) < 0.5F) return classes[order[0]];
  constexpr std::size_t kLetters = 6;  // so that both names can be read below a small picture
  return fmt::format("{} {:.0f} {} {:.0f}", classes[order[0]].substr(0, kLetters), percent(0),
                     classes[order[1]].substr(0, kLetters), percent(1));
}

}  // namespace

Image batch_sheet(const Batch& batch, const std::vector<std::string>& classes) {
  const std::int64_t height = batch.images.size(1), width = batch.images.size(2),
                     channels = batch.images.size(3);
  const std::int64_t each = height * width * channels;
  std::vector<Tile> tiles;
  for (std::int64_t n = 0; n < std::min(batch.size(), kPictures); ++n) {
    Tile tile{Image::filled(height, width, channels), caption_of(batch, n, classes)};
    std::copy_n(batch.images.data<std::uint8_t>() + n * each, each, tile.image.pixels.begin());
    tiles.push_back(std::move(tile));
  }
  return tile_images(tiles, kColumns, std::clamp(std::max(height, width), kSmallestSide, kLargestSide));
}

void save_batch_sheet(const std::filesystem::path& path, const Batch& batch,
                      const std::vector<std::string>& classes) {
  std::error_code error;
  std::filesystem::create_directories(path.parent_path(), error);
  if (error)
    throw FileError(str(path.parent_path().string(), ": cannot make this folder: ", error.message(), "."));
  const std::vector<std::uint8_t> png = encode_png(batch_sheet(batch, classes));
  write_file_atomically(path, std::as_bytes(std::span(png)));
}

}  // namespace replk
