// What the tests of training share: a small data set on disk that can be learned, and a small network.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/random.h"
#include "scripts/replk/train_options.h"
#include "tests/scripts/process.h"

namespace replk::test {

inline std::string idx_text(const std::vector<std::uint32_t>& extents, const std::string& data) {
  std::string text = {0, 0, 8, static_cast<char>(extents.size())};
  for (const std::uint32_t extent : extents)
    for (int shift = 24; shift >= 0; shift -= 8) text += static_cast<char>(extent >> shift & 255);
  return text + data;
}

/// One part ("train" or "t10k") of an IDX data set: noisy 12x12 pictures whose bright quarter is their class.
inline void write_idx_part(const std::filesystem::path& folder, const std::string& part,
                           std::uint32_t count) {
  constexpr std::uint32_t kSide = 12;
  Random random(1, stream_of(part));
  std::string pixels, labels;
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto label = static_cast<std::uint32_t>(random.below(4));
    labels += static_cast<char>(label);
    for (std::uint32_t y = 0; y < kSide; ++y)
      for (std::uint32_t x = 0; x < kSide; ++x) {
        const bool bright = y / (kSide / 2) * 2 + x / (kSide / 2) == label;
        pixels += static_cast<char>(random.below(120) + (bright ? 80 : 0));
      }
  }
  write_text(folder / (part + "-images-idx3-ubyte"), idx_text({count, kSide, kSide}, pixels));
  write_text(folder / (part + "-labels-idx1-ubyte"), idx_text({count}, labels));
}

inline void write_idx_dataset(const std::filesystem::path& folder, std::uint32_t images = 200) {
  write_idx_part(folder, "train", images);
  write_idx_part(folder, "t10k", 40);
}

/// About 2,000 weights, with everything a larger network has.
inline constexpr const char* kSmallNetwork =
    R"({"channels":[4,6],"layers":[1,1],"large_kernel_sizes":[7,5],"small_kernel":3,"drop_path_rate":0.2})";

/// Options for that network on a data set as above.
inline TrainOptions small_options(const std::filesystem::path& data) {
  TrainOptions options;
  options.data = data.string();
  options.model = "replknet-nano";
  options.model_config = kSmallNetwork;
  options.batch_size = 16;
  options.epochs = 4;
  options.val_split = 40;
  options.threads = 1;
  options.device = "cpu";
  return options;
}

}  // namespace replk::test
