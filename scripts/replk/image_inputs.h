// The images that a command is to look at: files, folders, pictures of IDX files, samples of a data set.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace replk {

/// One image that can be loaded, and what to call it.
struct ImageInput {
  std::string name;
  std::function<Image()> load;        // throws FileError when it cannot be read
  std::optional<std::int64_t> label;  // where it is known
};

/// What a path on the command line stands for: an image file; the PNG and JPEG files of a folder and those
/// below it, sorted; or one picture of an IDX file, "t10k-images-idx3-ubyte.gz:7". Nothing is opened yet but
/// folders: what is wrong with a file is found out by loading it. Throws FileError for a folder that cannot
/// be listed or has no images.
std::vector<ImageInput> inputs_at(const std::string& path);

/// Samples of a data set by number. Throws UsageError for a number that is not below its size.
std::vector<ImageInput> inputs_from(std::shared_ptr<const Dataset> dataset,
                                    const std::vector<std::int64_t>& indices);

}  // namespace replk
