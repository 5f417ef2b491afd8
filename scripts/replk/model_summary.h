// Where a network's parameters and multiply-adds are, layer by layer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/replknet.h"

namespace replk {

/// A row of the table: one layer, or one block.
struct LayerRow {
  std::string path;  // "stages.0.blocks.1.pw1.conv"
  std::string kind;  // "conv 1x1", "RepLK block 31x31 + 5x5"
  Shape output;      // for one image, (C, N, H, W) or (N, classes)
  std::int64_t parameters = 0, macs = 0;
};

struct ModelSummary {
  std::vector<LayerRow> layers;  // every layer with parameters, in the order in which they ran
  std::vector<LayerRow> blocks;  // the same by block; what runs outside of blocks by its place in the network
  std::int64_t parameters = 0;   // of the whole network
  std::int64_t macs = 0;         // multiply-adds for one image
  std::int64_t depthwise_macs = 0, pointwise_macs = 0;  // depth-wise and 1x1 convolutions
};

/// The side of the images that such a network is made for: 224 where it shrinks them 16 times or more, as the
/// paper's presets do, 28 otherwise.
std::int64_t usual_image_size(const RepLKNetConfig& config);
/// What a configuration says, in a few lines for people.
std::string describe_config(const RepLKNetConfig& config);

/// Runs a network like this in eval mode on one image of height x width and adds up what ran. It is a DryRun:
/// nothing is computed.
ModelSummary summarize(const RepLKNetConfig& config, std::int64_t height, std::int64_t width);

}  // namespace replk
