#include "data/idx.h"

#include <algorithm>

#include "data/file_reader.h"

namespace replk {
namespace {

namespace fs = std::filesystem;

constexpr std::uint32_t kImagesMagic = 0x00000803;  // unsigned bytes, three axes
constexpr std::uint32_t kLabelsMagic = 0x00000801;  // unsigned bytes, one axis
constexpr std::int64_t kMaxSide = 4096;
constexpr std::int64_t kMaxBytes = std::int64_t{1} << 32;  // more does not belong in memory
constexpr std::int64_t kLabelsHeader = 8;

void expect_magic(FileReader& file, std::uint32_t magic, const char* what) {
  const std::uint32_t found = file.read_big_endian("an IDX header");
  if (found != magic)
    file.fail(0, "the IDX magic number ", magic, " (", what, ") expected, got ", found, ".");
}

// A count or side from the header, in [1, most].
std::int64_t read_extent(FileReader& file, const char* what, std::int64_t most) {
  const std::int64_t value = file.read_big_endian("an IDX header");
  if (value < 1 || value > most)
    file.fail(file.position() - 4, what, " in [1, ", most, "] expected, got ", value, ".");
  return value;
}

// The file of that name in the folder, plain or packed; empty when there is none.
fs::path find_idx(const fs::path& root, const std::string& name) {
  for (const char* ending : {"", ".gz"}) {
    std::error_code error;
    const fs::path path = root / (name + ending);
    if (fs::exists(path, error)) return path;
  }
  return {};
}

std::string file_prefix(Split split) { return split == Split::train ? "train" : "t10k"; }
std::string images_name(Split split) { return file_prefix(split) + "-images-idx3-ubyte"; }
std::string labels_name(Split split) { return file_prefix(split) + "-labels-idx1-ubyte"; }

void refuse_validation(const std::string& name, Split split) {
  if (split == Split::validation)
    throw UsageError(str(name,
                         ": parts train and test expected; it has no validation part. "
                         "Split one off the training part."));
}

fs::path require_idx(const fs::path& root, const std::string& name, const std::string& hint) {
  const fs::path path = find_idx(root, name);
  if (path.empty()) throw FileError(str((root / name).string(), "[.gz]: no such file.", hint));
  return path;
}

}  // namespace

IdxImages read_idx_images(const fs::path& path) {
  FileReader file(path);
  expect_magic(file, kImagesMagic, "pictures of unsigned bytes");
  IdxImages images;
  images.count = read_extent(file, "a number of images", UINT32_MAX);
  images.height = read_extent(file, "a height", kMaxSide);
  images.width = read_extent(file, "a width", kMaxSide);
  const std::int64_t bytes = images.count * images.height * images.width;  // below 2^56
  if (bytes > kMaxBytes)
    file.fail(4, "at most ", kMaxBytes, " bytes of pictures expected, the header says ", images.count, " of ",
              images.height, "x", images.width, ".");
  images.pixels =
      file.read(bytes, str("pixels (", images.count, " images of ", images.height, "x", images.width, ")"));
  file.expect_end();
  return images;
}

std::vector<std::uint8_t> read_idx_labels(const fs::path& path) {
  FileReader file(path);
  expect_magic(file, kLabelsMagic, "labels of unsigned bytes");
  const std::int64_t count = read_extent(file, "a number of labels", UINT32_MAX);
  auto labels = file.read(count, "labels");
  file.expect_end();
  return labels;
}

std::unique_ptr<Dataset> open_idx(const fs::path& images, const fs::path& labels,
                                  std::vector<std::string> classes, const std::string& name) {
  auto values = read_idx_labels(labels);
  for (std::size_t i = 0; i < values.size(); ++i)
    if (values[i] >= classes.size())
      throw FileError(str(labels.string(), ": byte ", kLabelsHeader + static_cast<std::int64_t>(i),
                          ": a label below ", classes.size(), " expected, got ", +values[i], "."));
  auto pictures = read_idx_images(images);
  if (pictures.count != static_cast<std::int64_t>(values.size()))
    throw FileError(str(labels.string(), ": byte 4: ", pictures.count, " labels expected, as many as ",
                        images.string(), " has images, got ", values.size(), "."));
  return std::make_unique<MemoryDataset>(name, std::move(classes), pictures.height, pictures.width, 1,
                                         std::move(pictures.pixels), std::move(values));
}

bool is_idx_folder(const fs::path& root) {
  return !find_idx(root, images_name(Split::train)).empty() ||
         !find_idx(root, images_name(Split::test)).empty();
}

std::unique_ptr<Dataset> open_idx_folder(const fs::path& root, Split split) {
  const std::string name = str(root.string(), ' ', name_of(split));
  refuse_validation(root.string(), split);
  const fs::path images = require_idx(root, images_name(split), "");
  const fs::path labels = require_idx(root, labels_name(split), "");
  int largest = 0;
  for (const Split part : {Split::train, Split::test}) {
    const fs::path path = find_idx(root, labels_name(part));
    if (path.empty()) continue;
    const auto values = read_idx_labels(path);
    largest = std::max<int>(largest, *std::max_element(values.begin(), values.end()));
  }
  std::vector<std::string> classes;
  for (int label = 0; label <= largest; ++label) classes.push_back(std::to_string(label));
  return open_idx(images, labels, std::move(classes), name);
}

std::unique_ptr<Dataset> open_fashion_mnist(const fs::path& root, Split split) {
  refuse_validation("fashion-mnist", split);
  const std::string hint = " Install the data with: apt-get install dataset-fashion-mnist";
  const fs::path images = require_idx(root, images_name(split), hint);
  const fs::path labels = require_idx(root, labels_name(split), hint);
  return open_idx(images, labels,
                  {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
                   "Ankle boot"},
                  str("fashion-mnist ", name_of(split)));
}

}  // namespace replk
