#include "scripts/replk/image_inputs.h"

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "core/error.h"
#include "data/codec.h"
#include "data/idx.h"

namespace replk {
namespace {

namespace fs = std::filesystem;

bool is_image_name(const fs::path& path) {
  std::string ending = path.extension().string();
  for (char& c : ending)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return ending == ".png" || ending == ".jpg" || ending == ".jpeg";
}

std::vector<ImageInput> inputs_in_folder(const fs::path& folder) {
  std::vector<std::string> paths;
  std::error_code error;
  fs::recursive_directory_iterator it(folder, error);
  for (; !error && it != fs::recursive_directory_iterator(); it.increment(error))
    if (is_image_name(it->path())) paths.push_back(it->path().string());
  if (error) throw FileError(str(folder.string(), ": cannot be listed: ", error.message(), "."));
  if (paths.empty())
    throw FileError(str(folder.string(), ": PNG or JPEG files expected in this folder, there are none."));
  std::sort(paths.begin(), paths.end());
  std::vector<ImageInput> inputs;
  for (const std::string& path : paths)
    inputs.push_back({.name = path, .load = [path] { return load_image(path); }, .label = {}});
  return inputs;
}

// "file:7" as ("file", 7).
std::optional<std::pair<std::string, std::int64_t>> split_index(const std::string& path) {
  const std::size_t colon = path.rfind(':');
  if (colon == path.npos || colon == 0) return std::nullopt;
  std::int64_t index = 0;
  const char* const end = path.data() + path.size();
  const auto [stop, error] = std::from_chars(path.data() + colon + 1, end, index);
  if (error != std::errc() || stop != end || index < 0) return std::nullopt;
  return std::pair(path.substr(0, colon), index);
}

// The last IDX file that was read: the pictures of one command are usually all in the same one.
const IdxImages& read_idx_once(const std::string& path) {
  static std::string last_path;
  static IdxImages last;
  if (path != last_path) {
    last_path.clear();
    last = read_idx_images(path);
    last_path = path;
  }
  return last;
}

Image load_idx_image(const std::string& path, std::int64_t index) {
  const IdxImages& file = read_idx_once(path);
  if (index >= file.count)
    throw FileError(
        str(path, ": image ", index, " asked for, it holds ", file.count, " (0 to ", file.count - 1, ")."));
  Image image = Image::filled(file.height, file.width, 1);
  std::copy_n(file.pixels.begin() + index * file.height * file.width, image.pixels.size(),
              image.pixels.begin());
  return image;
}

}  // namespace

std::vector<ImageInput> inputs_at(const std::string& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) return inputs_in_folder(path);
  const auto indexed = split_index(path);
  if (indexed && !fs::exists(path, error))
    return {
        {.name = path, .load = [=] { return load_idx_image(indexed->first, indexed->second); }, .label = {}}};
  return {{.name = path,
           .load =
               [path] {
                 if (path.find("idx3-ubyte") != path.npos)
                   throw FileError(str(path, ": an IDX file holds many images. Say which one: ", path, ":0"));
                 return load_image(path);
               },
           .label = {}}};
}

std::vector<ImageInput> inputs_from(std::shared_ptr<const Dataset> dataset,
                                    const std::vector<std::int64_t>& indices) {
  std::vector<ImageInput> inputs;
  for (const std::int64_t index : indices) {
    if (index < 0 || index >= dataset->size())
      throw UsageError(str("--index: 0 to ", dataset->size() - 1, " expected for ", dataset->name(), ", got ",
                           index, "."));
    inputs.push_back({.name = dataset->sample_name(index),
                      .load = [=] { return dataset->get(index).image; },
                      .label = dataset->label(index)});
  }
  return inputs;
}

}  // namespace replk
