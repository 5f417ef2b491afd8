// What a data set holds, in numbers.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <vector>

#include "data/dataset.h"

namespace replk {

struct DatasetStatistics {
  std::vector<std::int64_t> class_counts;                     // samples of each class, by label
  std::int64_t images = 0;                                    // pictures looked at for all that follows
  std::map<std::array<std::int64_t, 3>, std::int64_t> sizes;  // how many have which height, width, channels
  std::vector<double> mean, deviation;                        // of every channel's pixels, in [0, 1]
};

/// Counts all labels, and decodes at most `most_images` pictures, evenly spread, for sizes, mean and standard
/// deviation (over all pixels of all pictures). Sums are whole numbers, so the result is the same for any
/// number of threads. Throws Error for pictures with different numbers of channels.
DatasetStatistics dataset_statistics(const Dataset& dataset, std::int64_t most_images = 100000);

}  // namespace replk
