#include "data/dataset.h"

#include <algorithm>

#include "core/error.h"

namespace replk {

const char* name_of(Split split) {
  switch (split) {
    case Split::train:
      return "train";
    case Split::validation:
      return "validation";
    case Split::test:
      break;
  }
  return "test";
}

std::string Dataset::sample_name(std::int64_t index) const { return str(name(), " #", index); }

void Dataset::check_index(std::int64_t index) const {
  check(index >= 0 && index < size(), name(), ": a sample in [0, ", size(), ") expected, got ", index, ".");
}

MemoryDataset::MemoryDataset(std::string name, std::vector<std::string> classes, std::int64_t height,
                             std::int64_t width, std::int64_t channels, std::vector<std::uint8_t> pixels,
                             std::vector<std::uint8_t> labels)
    : name_(std::move(name)),
      classes_(std::move(classes)),
      height_(height),
      width_(width),
      channels_(channels),
      pixels_(std::move(pixels)),
      labels_(std::move(labels)) {
  check(height >= 1 && width >= 1 && channels >= 1 &&
            static_cast<std::int64_t>(pixels_.size()) == size() * height * width * channels,
        name_, ": ", size(), " images of ", height, "x", width, "x", channels, " expected, got ",
        pixels_.size(), " bytes.");
  for (const std::uint8_t value : labels_)
    check(value < classes_.size(), name_, ": labels below ", classes_.size(), " expected, got ", +value, ".");
}

Sample MemoryDataset::get(std::int64_t index) const {
  check_index(index);
  const std::int64_t bytes = height_ * width_ * channels_;
  const auto first = pixels_.begin() + index * bytes;
  return {.image = {height_, width_, channels_, std::vector<std::uint8_t>(first, first + bytes)},
          .label = label(index)};
}

std::int64_t MemoryDataset::label(std::int64_t index) const {
  check_index(index);
  return labels_[static_cast<std::size_t>(index)];
}

}  // namespace replk
