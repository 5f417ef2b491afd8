#include "data/cifar.h"

#include "data/file_reader.h"

namespace replk {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kSide = 32, kPlane = kSide * kSide, kChannels = 3;
constexpr std::int64_t kMaxFileBytes = std::int64_t{1} << 30;  // the real ones have 150 MB

// What differs between the two.
struct CifarFormat {
  std::string name;
  std::string archive;
  std::int64_t label_bytes;  // the last of them is the label
  std::vector<std::string> train_files;
  std::vector<std::string> test_files;
  std::vector<std::string> classes;
};

void append_records(const CifarFormat& format, const fs::path& path, std::vector<std::uint8_t>& pixels,
                    std::vector<std::uint8_t>& labels) {
  if (std::error_code error; !fs::exists(path, error))
    throw FileError(str(path.string(), ": no such file. Unpack ", format.archive, " there."));
  const auto bytes = read_file(path, kMaxFileBytes);
  const auto size = static_cast<std::int64_t>(bytes.size());
  const std::int64_t record = format.label_bytes + kPlane * kChannels;
  if (size == 0 || size % record != 0)
    throw FileError(str(path.string(), ": byte ", size / record * record, ": a record of ", record,
                        " bytes expected, the file ends after ", size % record, "."));
  auto to = static_cast<std::int64_t>(pixels.size());
  pixels.resize(static_cast<std::size_t>(to + size / record * kPlane * kChannels));
  for (std::int64_t start = 0; start < size; start += record) {
    const std::uint8_t* at = bytes.data() + start;
    const std::uint8_t label = at[format.label_bytes - 1];
    if (label >= format.classes.size())
      throw FileError(str(path.string(), ": byte ", start + format.label_bytes - 1, ": a label below ",
                          format.classes.size(), " expected, got ", +label, "."));
    labels.push_back(label);
    const std::uint8_t* planes = at + format.label_bytes;
    for (std::int64_t i = 0; i < kPlane; ++i)
      for (std::int64_t c = 0; c < kChannels; ++c)
        pixels[static_cast<std::size_t>(to++)] = planes[c * kPlane + i];
  }
}

std::unique_ptr<Dataset> open_cifar(const CifarFormat& format, const fs::path& root, Split split) {
  if (split == Split::validation)
    throw UsageError(str(format.name,
                         ": parts train and test expected; it has no validation part. "
                         "Split one off the training part."));
  std::vector<std::uint8_t> pixels, labels;
  for (const std::string& file : split == Split::train ? format.train_files : format.test_files)
    append_records(format, root / file, pixels, labels);
  return std::make_unique<MemoryDataset>(str(format.name, ' ', name_of(split)), format.classes, kSide, kSide,
                                         kChannels, std::move(pixels), std::move(labels));
}

}  // namespace

std::unique_ptr<Dataset> open_cifar10(const fs::path& root, Split split) {
  return open_cifar(
      {.name = "cifar10",
       .archive = "cifar-10-binary.tar.gz",
       .label_bytes = 1,
       .train_files = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
                       "data_batch_5.bin"},
       .test_files = {"test_batch.bin"},
       .classes = {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"}},
      root, split);
}

std::unique_ptr<Dataset> open_cifar100(const fs::path& root, Split split) {
  return open_cifar(
      {.name = "cifar100",
       .archive = "cifar-100-binary.tar.gz",
       .label_bytes = 2,
       .train_files = {"train.bin"},
       .test_files = {"test.bin"},
       .classes = {"apple",       "aquarium_fish", "baby",      "bear",       "beaver",       "bed",
                   "bee",         "beetle",        "bicycle",   "bottle",     "bowl",         "boy",
                   "bridge",      "bus",           "butterfly", "camel",      "can",          "castle",
                   "caterpillar", "cattle",        "chair",     "chimpanzee", "clock",        "cloud",
                   "cockroach",   "couch",         "crab",      "crocodile",  "cup",          "dinosaur",
                   "dolphin",     "elephant",      "flatfish",  "forest",     "fox",          "girl",
                   "hamster",     "house",         "kangaroo",  "keyboard",   "lamp",         "lawn_mower",
                   "leopard",     "lion",          "lizard",    "lobster",    "man",          "maple_tree",
                   "motorcycle",  "mountain",      "mouse",     "mushroom",   "oak_tree",     "orange",
                   "orchid",      "otter",         "palm_tree", "pear",       "pickup_truck", "pine_tree",
                   "plain",       "plate",         "poppy",     "porcupine",  "possum",       "rabbit",
                   "raccoon",     "ray",           "road",      "rocket",     "rose",         "sea",
                   "seal",        "shark",         "shrew",     "skunk",      "skyscraper",   "snail",
                   "snake",       "spider",        "squirrel",  "streetcar",  "sunflower",    "sweet_pepper",
                   "table",       "tank",          "telephone", "television", "tiger",        "tractor",
                   "train",       "trout",         "tulip",     "turtle",     "wardrobe",     "whale",
                   "willow_tree", "wolf",          "woman",     "worm"}},
      root, split);
}

}  // namespace replk
