#include "scripts/replk/tensor_report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <utility>

#include "core/error.h"
#include "data/contact_sheet.h"

namespace replk {
namespace {

// Names with their numbers in the order of numbers: "blocks.10" after "blocks.2".
bool natural_less(const std::string& a, const std::string& b) {
  std::size_t i = 0, j = 0;
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto run = [&](const std::string& text, std::size_t from) {
    std::size_t end = from;
    while (end < text.size() && digit(text[end])) ++end;
    return text.substr(from, end - from);
  };
  while (i < a.size() && j < b.size()) {
    if (digit(a[i]) && digit(b[j])) {
      const std::string x = run(a, i), y = run(b, j);
      if (x.size() != y.size()) return x.size() < y.size();
      if (x != y) return x < y;
      i += x.size();
      j += y.size();
    } else if (a[i] != b[j]) {
      return a[i] < b[j];
    } else {
      ++i, ++j;
    }
  }
  return a.size() - i < b.size() - j;
}

// "S2 B14 31X31" of a RepLKNet's kernel, otherwise what begins its name.
std::string caption_of(const std::string& name, const Shape& shape) {
  int stage = 0, block = 0;
  const bool replk = std::sscanf(name.c_str(), "stages.%d.blocks.%d.", &stage, &block) == 2;
  return str(replk ? str("S", stage, " B", block) : name.substr(0, 6), " ", shape[2], "x", shape[3]);
}

}  // namespace

TensorStatistics statistics_of(const Tensor& tensor) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  TensorStatistics result{.min = nan, .max = nan, .mean = nan, .std = nan};
  double sum = 0;
  std::int64_t count = 0;
  const std::vector<double> values = tensor.to_vector();
  for (const double value : values) {
    if (!std::isfinite(value)) continue;
    if (count++ == 0) result.min = result.max = value;
    result.min = std::min(result.min, value);
    result.max = std::max(result.max, value);
    sum += value;
  }
  result.not_finite = static_cast<std::int64_t>(values.size()) - count;
  if (count == 0) return result;
  result.mean = sum / static_cast<double>(count);
  double squares = 0;
  for (const double value : values)
    if (std::isfinite(value)) squares += (value - result.mean) * (value - result.mean);
  result.std = std::sqrt(squares / static_cast<double>(count));
  return result;
}

TensorDifferences compare_tensors(const NamedTensors& first, const NamedTensors& second) {
  TensorDifferences result;
  for (const auto& [name, tensor] : second)
    if (!first.contains(name)) result.only_in_second.push_back(name);
  for (const auto& [name, tensor] : first) {
    const auto other = second.find(name);
    if (other == second.end()) {
      result.only_in_first.push_back(name);
      continue;
    }
    if (tensor.shape() != other->second.shape()) {
      result.shapes.push_back({name, tensor.shape(), other->second.shape()});
      continue;
    }
    const std::vector<double> a = tensor.to_vector(), b = other->second.to_vector();
    double largest = 0, scale = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      if (a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i]))) continue;
      const double gap = std::abs(a[i] - b[i]);
      largest = std::max(largest, std::isnan(gap) ? std::numeric_limits<double>::infinity() : gap);
    }
    for (const double value : a)
      if (std::isfinite(value)) scale = std::max(scale, std::abs(value));
    if (largest == 0)
      ++result.equal;
    else
      result.values.push_back(
          {name, largest, scale > 0 ? largest / scale : std::numeric_limits<double>::infinity()});
  }
  std::stable_sort(result.values.begin(), result.values.end(),
                   [](const auto& a, const auto& b) { return a.largest > b.largest; });
  return result;
}

Image draw_kernel(const double* weights, std::int64_t height, std::int64_t width, double largest,
                  std::int64_t side) {
  Image image = Image::filled(side, side, 3);
  for (std::int64_t y = 0; y < side; ++y)
    for (std::int64_t x = 0; x < side; ++x) {
      const double weight = weights[y * height / side * width + x * width / side];
      const double share = largest > 0 && std::isfinite(weight) ? std::clamp(weight / largest, -1.0, 1.0) : 0;
      const auto faded = static_cast<std::uint8_t>(std::lround(255 * (1 - std::abs(share))));
      image.at(y, x, 0) = share < 0 ? faded : 255;
      image.at(y, x, 1) = faded;
      image.at(y, x, 2) = share > 0 ? faded : 255;
    }
  return image;
}

Image kernel_picture(const NamedTensors& tensors, std::int64_t smallest, std::int64_t columns) {
  constexpr std::int64_t kSide = 72, kMostLayers = 256;
  std::vector<std::string> layers;
  for (const auto& [name, tensor] : tensors)
    if (const Shape& s = tensor.shape(); is_floating(tensor.dtype()) && s.rank() == 4 && s[0] > 0 &&
                                         s[1] == 1 && s[2] >= smallest && s[3] >= smallest)
      layers.push_back(name);
  check(!layers.empty(), "kernels: depth-wise kernels of at least ", smallest, "x", smallest,
        " expected, there are none.");
  std::sort(layers.begin(), layers.end(), natural_less);
  if (std::cmp_greater(layers.size(), kMostLayers)) layers.resize(kMostLayers);
  std::vector<Tile> tiles;
  for (const std::string& name : layers) {
    const Tensor& tensor = tensors.at(name);
    const std::vector<double> weights = tensor.to_vector();
    double largest = 0;
    for (const double weight : weights)
      if (std::isfinite(weight)) largest = std::max(largest, std::abs(weight));
    const std::int64_t channels = tensor.size(0), area = tensor.size(2) * tensor.size(3);
    for (std::int64_t i = 0; i < columns; ++i) {
      if (i >= channels) {
        tiles.push_back({Image::filled(kSide, kSide, 3, 255), ""});
        continue;
      }
      const std::int64_t channel =
          channels <= columns ? i : i * (channels - 1) / std::max<std::int64_t>(columns - 1, 1);
      tiles.push_back(
          {draw_kernel(weights.data() + channel * area, tensor.size(2), tensor.size(3), largest, kSide),
           i == 0 ? caption_of(name, tensor.shape()) : str("channel ", channel)});
    }
  }
  return tile_images(tiles, columns, kSide);
}

}  // namespace replk
