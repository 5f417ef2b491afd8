// CIFAR-10 and CIFAR-100 in their binary form (Krizhevsky 2009): pictures of 32x32 in RGB.
#pragma once

#include <filesystem>
#include <memory>

#include "data/dataset.h"

namespace replk {

/// `root` holds data_batch_1.bin to data_batch_5.bin and test_batch.bin, in records of one label and 3072
/// bytes: the red plane, the green one, the blue one.
/// Throws FileError for a missing file, a partial record or a label of 10 or more.
std::unique_ptr<Dataset> open_cifar10(const std::filesystem::path& root, Split split);

/// `root` holds train.bin and test.bin, in records of a coarse label (of 20, not used here), a fine label (of
/// 100) and 3072 bytes.
std::unique_ptr<Dataset> open_cifar100(const std::filesystem::path& root, Split split);

}  // namespace replk
