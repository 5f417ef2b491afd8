// A folder of pictures with one sub-folder for each class.
#pragma once

#include <filesystem>
#include <memory>

#include "data/dataset.h"

namespace replk {

/// PNG and JPEG files under <root>/<part>/<class>/, decoded when they are asked for.
///
/// The part is train/ for training, val/ (or validation/) for validation, test/ (or else val/) for testing. A
/// root without train/ whose sub-folders are the classes themselves is one training part. Classes are the
/// sub-folders of train/, sorted by name; those of another part must be among them, so that a label means the
/// same everywhere. Pictures are sorted by name and come as RGB (`channels` = 3) or grey (1).
/// Files whose names do not end in .png, .jpg or .jpeg, or start with a dot, are passed over.
/// Throws FileError when the part is missing, a class has no picture, or a class is unknown.
std::unique_ptr<Dataset> open_image_folder(const std::filesystem::path& root, Split split,
                                           std::int64_t channels = 3);

}  // namespace replk
