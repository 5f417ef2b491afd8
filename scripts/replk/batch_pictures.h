// Pictures of batches as the network sees them, to judge an augmentation by eye.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "data/loader.h"

namespace replk {

/// The first 64 pictures of a batch on one sheet, each with its class below; a mixed one with the first
/// letters of its two classes and their shares in percent ("PULLOV 62 BAG 38").
Image batch_sheet(const Batch& batch, const std::vector<std::string>& classes);
/// batch_sheet as a PNG file, whose folder is made. Throws FileError.
void save_batch_sheet(const std::filesystem::path& path, const Batch& batch,
                      const std::vector<std::string>& classes);

}  // namespace replk
