#include "scripts/replk/kernel_strips.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

#include "core/error.h"
#include "scripts/replk/tensor_report.h"

namespace replk {
namespace {

constexpr std::int64_t kStemKernels = 64, kStemColumns = 16, kBlocks = 8, kChannels = 8;
constexpr std::int64_t kSmallestSide = 24;  // pixels of a drawn kernel: whole pixels for every weight
constexpr std::int64_t kGap = 3;

std::int64_t drawn_side(std::int64_t kernel) { return (kSmallestSide + kernel - 1) / kernel * kernel; }

// `count` numbers below `all`, evenly spread from the first to the last.
std::vector<std::int64_t> spread(std::int64_t all, std::int64_t count) {
  std::vector<std::int64_t> chosen;
  for (std::int64_t i = 0; i < std::min(all, count); ++i)
    chosen.push_back(all <= count ? i : i * (all - 1) / (count - 1));
  return chosen;
}

KernelStrip strip_of(const std::vector<Image>& kernels, std::int64_t most_columns) {
  const auto count = static_cast<std::int64_t>(kernels.size());
  const std::int64_t columns = std::min(count, most_columns), rows = (count + columns - 1) / columns;
  const std::int64_t side = kernels.front().height, step = side + kGap;
  Image picture = Image::filled(rows * step - kGap, columns * step - kGap, 4, 0);
  for (std::int64_t i = 0; i < count; ++i)
    for (std::int64_t y = 0; y < side; ++y)
      for (std::int64_t x = 0; x < side; ++x) {
        const std::int64_t row = i / columns * step + y, column = i % columns * step + x;
        for (std::int64_t c = 0; c < 3; ++c)
          picture.at(row, column, c) = kernels[static_cast<std::size_t>(i)].at(y, x, c);
        picture.at(row, column, 3) = 255;
      }
  return {.picture = std::move(picture), .shown = count, .columns = columns};
}

double largest_of(const double* values, std::int64_t count) {
  double largest = 0;
  for (std::int64_t i = 0; i < count; ++i)
    if (std::isfinite(values[i])) largest = std::max(largest, std::abs(values[i]));
  return largest;
}

// Three planes of weights as the colours they answer to: grey is 0.
Image draw_colour_kernel(const double* weights, std::int64_t kernel, double largest) {
  const std::int64_t side = drawn_side(kernel);
  Image image = Image::filled(side, side, 3);
  for (std::int64_t y = 0; y < side; ++y)
    for (std::int64_t x = 0; x < side; ++x)
      for (std::int64_t c = 0; c < 3; ++c) {
        const double weight = weights[(c * kernel + y * kernel / side) * kernel + x * kernel / side];
        const double share = largest > 0 && std::isfinite(weight) ? weight / largest : 0;
        image.at(y, x, c) = static_cast<std::uint8_t>(std::lround(127.5 * (1 + share)));
      }
  return image;
}

StemKernels draw_stem(const Tensor& weight) {
  const std::int64_t all = weight.size(0), planes = weight.size(1), kernel = weight.size(2);
  const std::vector<double> values = weight.to_vector();
  const double largest = largest_of(values.data(), weight.numel());
  std::vector<Image> kernels;
  for (const std::int64_t k : spread(all, kStemKernels)) {
    const double* own = values.data() + k * planes * kernel * kernel;
    kernels.push_back(planes == 3 ? draw_colour_kernel(own, kernel, largest)
                                  : draw_kernel(own, kernel, kernel, largest, drawn_side(kernel)));
  }
  return {.strip = strip_of(kernels, kStemColumns), .kernel = kernel, .all = all, .colour = planes == 3};
}

// "stages.0.blocks.2.large_kernel" as people count; every other block is a ConvFFN.
std::string block_name(const std::string& path) {
  int stage = 0, block = 0;
  if (std::sscanf(path.c_str(), "stages.%d.blocks.%d.", &stage, &block) != 2) return path;
  return str("stage ", stage + 1, ", block ", block / 2 + 1);
}

using Branches = ReparamLargeKernelConv::Branches;

LargeKernels draw_block(const ReparamLargeKernelConv& layer, const Branches* branches, const Tensor& merged) {
  const std::int64_t kernel = layer.kernel(), area = kernel * kernel, channels = merged.size(0);
  const std::vector<double> sum = merged.to_vector();
  std::vector<Image> pictures[3];
  for (const std::int64_t c : spread(channels, kChannels)) {
    std::vector<const double*> weights = {sum.data() + c * area};
    if (branches)
      weights.insert(weights.end(),
                     {branches->large.weight.data() + c * area, branches->small.weight.data() + c * area});
    double largest = 0;
    for (const double* own : weights) largest = std::max(largest, largest_of(own, area));
    for (std::size_t i = 0; i < weights.size(); ++i)
      pictures[i].push_back(draw_kernel(weights[i], kernel, kernel, largest, drawn_side(kernel)));
  }
  LargeKernels drawn{.block = block_name(layer.path()),
                     .kernel = kernel,
                     .small_kernel = layer.small_kernel(),
                     .channels = channels,
                     .large = {},
                     .small = {},
                     .merged = strip_of(pictures[0], kChannels)};
  if (branches) {
    drawn.large = strip_of(pictures[1], kChannels);
    if (layer.small_kernel() > 0) drawn.small = strip_of(pictures[2], kChannels);
  }
  return drawn;
}

}  // namespace

KernelPictures draw_kernels(RepLKNet& network) {
  std::vector<const ReparamLargeKernelConv*> all, chosen;
  network.visit([&](Module& module) {
    if (const auto* layer = dynamic_cast<ReparamLargeKernelConv*>(&module)) all.push_back(layer);
  });
  const auto all_blocks = static_cast<std::int64_t>(all.size());
  std::map<const ReparamLargeKernelConv*, Branches> before;
  for (const std::int64_t i : spread(all_blocks, kBlocks)) {
    chosen.push_back(all[static_cast<std::size_t>(i)]);
    if (!chosen.back()->merged()) before.emplace(chosen.back(), chosen.back()->branches());
  }
  network.structural_reparam();
  std::map<std::string, Tensor> weights;
  for (const NamedTensor& entry : network.state()) weights[entry.name] = entry.tensor;

  KernelPictures pictures{
      .stem = draw_stem(weights.at("stem.0.conv.weight")), .blocks = {}, .all_blocks = all_blocks};
  for (const ReparamLargeKernelConv* layer : chosen) {
    const auto branches = before.find(layer);
    pictures.blocks.push_back(draw_block(*layer, branches == before.end() ? nullptr : &branches->second,
                                         weights.at(layer->path() + ".lkb_reparam.weight")));
  }
  return pictures;
}

}  // namespace replk
