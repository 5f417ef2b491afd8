// IDX: the file format of MNIST and its relatives, plain or packed with gzip.
#pragma once

#include <filesystem>
#include <memory>

#include "data/dataset.h"

namespace replk {

/// What an IDX file of grey pictures holds.
struct IdxImages {
  std::int64_t count = 0, height = 0, width = 0;
  std::vector<std::uint8_t> pixels;  // (count, H, W)
};

/// Bytes 0 0 8 3, then count, height and width as 32-bit numbers (high byte first), then the pixels.
/// Throws FileError for anything else: another type, sides outside [1, 4096], missing or surplus bytes.
IdxImages read_idx_images(const std::filesystem::path& path);

/// Bytes 0 0 8 1, then the count, then one byte a label.
std::vector<std::uint8_t> read_idx_labels(const std::filesystem::path& path);

/// Pictures and labels from two files. Throws FileError when their counts disagree or a label is not below
/// the number of classes.
std::unique_ptr<Dataset> open_idx(const std::filesystem::path& images, const std::filesystem::path& labels,
                                  std::vector<std::string> classes, const std::string& name);

/// True for a folder that holds {train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz], or one of them.
bool is_idx_folder(const std::filesystem::path& root);

/// The training or test part of such a folder, its classes called "0", "1", ... up to the largest label of
/// either part.
std::unique_ptr<Dataset> open_idx_folder(const std::filesystem::path& root, Split split);

/// Fashion-MNIST (Xiao et al. 2017): 60,000 and 10,000 grey pictures of 28x28 in ten classes.
std::unique_ptr<Dataset> open_fashion_mnist(const std::filesystem::path& root, Split split);

}  // namespace replk
