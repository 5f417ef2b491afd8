// Kernels of a network in small pictures: the first convolution's, and the large ones with what is merged
// into them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/image.h"
#include "models/replknet.h"

namespace replk {

/// Kernels in rows of `columns`, with opacity: transparent between them.
struct KernelStrip {
  Image picture;
  std::int64_t shown = 0, columns = 0;
};

struct StemKernels {
  KernelStrip strip;
  std::int64_t kernel = 0, all = 0;
  bool colour = false;  // of RGB images: shown in their colours; otherwise as draw_kernel does
};

/// The same channels of the depth-wise kernels of one block. A channel has one scale in all three strips, so
/// that merged is the sum of the others to the eye too.
struct LargeKernels {
  std::string block;  // "stage 1, block 2"
  std::int64_t kernel = 0, small_kernel = 0, channels = 0;
  std::optional<KernelStrip> large, small;  // with their batch norms multiplied in; none: merged before
  KernelStrip merged;
};

struct KernelPictures {
  StemKernels stem;
  std::vector<LargeKernels> blocks;
  std::int64_t all_blocks = 0;
};

/// Draws the kernels of a network on the CPU: at most 64 of the first convolution, and 8 channels each of at
/// most 8 blocks, evenly spread. Merges the network on the way (structural_reparam).
KernelPictures draw_kernels(RepLKNet& network);

}  // namespace replk
