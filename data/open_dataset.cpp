#include "data/open_dataset.h"

#include <algorithm>
#include <array>
#include <cstdlib>

#include "core/error.h"
#include "core/nearest_name.h"
#include "data/cifar.h"
#include "data/idx.h"
#include "data/image_folder.h"

namespace replk {
namespace {

namespace fs = std::filesystem;

const std::array<std::string, 3> kNames = {"cifar10", "cifar100", "fashion-mnist"};

bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

bool has_file(const fs::path& folder, const char* first, const char* second) {
  std::error_code error;
  return fs::exists(folder / first, error) || fs::exists(folder / second, error);
}

// The first of these sub-folders that exists, otherwise the root itself.
fs::path folder_in(const fs::path& root, std::initializer_list<const char*> choices) {
  for (const char* choice : choices)
    if (is_folder(root / choice)) return root / choice;
  return root;
}

std::unique_ptr<Dataset> open_folder(const fs::path& folder, Split split) {
  if (is_idx_folder(folder)) return open_idx_folder(folder, split);
  if (has_file(folder, "data_batch_1.bin", "test_batch.bin")) return open_cifar10(folder, split);
  if (has_file(folder, "train.bin", "test.bin")) return open_cifar100(folder, split);
  return open_image_folder(folder, split);
}

}  // namespace

std::span<const std::string> dataset_names() { return kNames; }

fs::path default_data_root() {
  const char* root = std::getenv("REPLK_DATA");
  return root && *root ? root : "/usr/share/datasets";
}

std::unique_ptr<Dataset> open_dataset(const std::string& name_or_path, Split split, const fs::path& root) {
  const fs::path data = root.empty() ? default_data_root() : root;
  if (name_or_path == "fashion-mnist")
    return open_fashion_mnist(folder_in(data, {"fashion-mnist", "FashionMNIST/raw"}), split);
  if (name_or_path == "cifar10")
    return open_cifar10(folder_in(data, {"cifar-10-batches-bin", "cifar10"}), split);
  if (name_or_path == "cifar100")
    return open_cifar100(folder_in(data, {"cifar-100-binary", "cifar100"}), split);
  if (is_folder(name_or_path)) return open_folder(name_or_path, split);
  std::error_code error;
  if (fs::exists(name_or_path, error))
    throw FileError(str(name_or_path, ": a folder of data expected, this is a file."));
  throw UsageError(str("data: a folder or one of cifar10, cifar100, fashion-mnist expected, got \"",
                       name_or_path, "\". Did you mean ", nearest_name(name_or_path, dataset_names()), "?"));
}

}  // namespace replk
