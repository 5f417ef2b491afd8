// open_dataset: a data set by its name or its folder.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "data/dataset.h"

namespace replk {

/// The names that open_dataset knows: cifar10, cifar100, fashion-mnist.
std::span<const std::string> dataset_names();

/// Where named data sets are looked for: the environment variable REPLK_DATA, otherwise /usr/share/datasets.
std::filesystem::path default_data_root();

/// The part `split` of a data set.
///
/// A name is looked for in the sub-folders of `root` (empty: default_data_root()) where it usually lies, such
/// as <root>/fashion-mnist or <root>/cifar-10-batches-bin, otherwise in `root` itself. Anything else is the
/// path of a folder: with IDX files, with CIFAR's binary files, or with pictures, a sub-folder for each
/// class. Throws UsageError with the nearest name when it is neither, FileError for files that are not what
/// they should be.
std::unique_ptr<Dataset> open_dataset(const std::string& name_or_path, Split split,
                                      const std::filesystem::path& root = {});

}  // namespace replk
