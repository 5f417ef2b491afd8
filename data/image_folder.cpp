#include "data/image_folder.h"

#include <algorithm>

#include "core/error.h"
#include "data/codec.h"

namespace replk {
namespace {

namespace fs = std::filesystem;

class ImageFolder final : public Dataset {
 public:
  struct Entry {
    fs::path path;
    std::int64_t label;
  };

  ImageFolder(std::string name, std::vector<std::string> classes, std::vector<Entry> entries,
              std::int64_t channels)
      : name_(std::move(name)),
        classes_(std::move(classes)),
        entries_(std::move(entries)),
        channels_(channels) {}

  std::string name() const override { return name_; }
  const std::vector<std::string>& classes() const override { return classes_; }
  std::int64_t size() const override { return static_cast<std::int64_t>(entries_.size()); }
  Sample get(std::int64_t index) const override {
    return {.image = load_image(entry(index).path, channels_), .label = entry(index).label};
  }
  std::int64_t label(std::int64_t index) const override { return entry(index).label; }
  std::string sample_name(std::int64_t index) const override { return entry(index).path.string(); }

 private:
  const Entry& entry(std::int64_t index) const {
    check_index(index);
    return entries_[static_cast<std::size_t>(index)];
  }

  std::string name_;
  std::vector<std::string> classes_;
  std::vector<Entry> entries_;
  std::int64_t channels_;
};

bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

bool is_picture_name(const fs::path& path) {
  std::string ending = path.extension().string();
  for (char& c : ending)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return ending == ".png" || ending == ".jpg" || ending == ".jpeg";
}

// Names in a folder that do not start with a dot and satisfy `wanted`, sorted by their bytes.
template <class F>
std::vector<std::string> names_in(const fs::path& folder, const F& wanted) {
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator it(folder, error);
  for (; !error && it != fs::directory_iterator(); it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (!name.starts_with('.') && wanted(it->path())) names.push_back(name);
  }
  if (error) throw FileError(str(folder.string(), ": cannot be listed: ", error.message(), "."));
  std::sort(names.begin(), names.end());
  return names;
}

// The folder of a part of the data set.
fs::path part_folder(const fs::path& root, Split split) {
  if (!is_folder(root)) throw FileError(str(root.string(), ": no such folder."));
  std::vector<const char*> choices = {"train"};
  if (split == Split::validation) choices = {"val", "validation"};
  if (split == Split::test) choices = {"test", "val", "validation"};
  for (const char* name : choices)
    if (is_folder(root / name)) return root / name;
  if (split == Split::train) return root;
  throw FileError(str((root / choices[0]).string(), ": no such folder: the ", name_of(split),
                      " pictures expected in it."));
}

std::vector<std::string> class_names(const fs::path& folder) {
  auto names = names_in(folder, is_folder);
  if (names.empty())
    throw FileError(
        str(folder.string(), ": one sub-folder of pictures for each class expected, found none."));
  return names;
}

}  // namespace

std::unique_ptr<Dataset> open_image_folder(const fs::path& root, Split split, std::int64_t channels) {
  check(channels == 1 || channels == 3, "open_image_folder: 1 or 3 channels expected, got ", channels, ".");
  const fs::path folder = part_folder(root, split);
  const std::vector<std::string> present = class_names(folder);
  const bool has_train = is_folder(root / "train");
  const std::vector<std::string> classes =
      has_train && split != Split::train ? class_names(root / "train") : present;
  std::vector<ImageFolder::Entry> entries;
  for (const std::string& name : present) {
    const auto found = std::lower_bound(classes.begin(), classes.end(), name);
    if (found == classes.end() || *found != name)
      throw FileError(
          str((folder / name).string(), ": a class that ", (root / "train").string(), " has too expected."));
    const auto files = names_in(folder / name, is_picture_name);
    if (files.empty())
      throw FileError(str((folder / name).string(), ": at least one .png, .jpg or .jpeg file expected."));
    for (const std::string& file : files) entries.push_back({folder / name / file, found - classes.begin()});
  }
  return std::make_unique<ImageFolder>(str(root.string(), ' ', name_of(split)), classes, std::move(entries),
                                       channels);
}

}  // namespace replk
