// Dataset: pictures with labels, one at a time, by number. Everything else in this folder is built on it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/image.h"

namespace replk {

/// Which part of a data set. What has no validation part of its own gets one from split_validation.
enum class Split { train, validation, test };

/// "train", "validation", "test"
const char* name_of(Split split);

struct Sample {
  Image image;
  std::int64_t label = 0;  // index into classes()
};

/// A numbered collection of labelled pictures. Everything is const and may be called from many threads.
class Dataset {
 public:
  virtual ~Dataset() = default;

  /// What it is called in tables and errors: "fashion-mnist train".
  virtual std::string name() const = 0;
  /// Names of the classes, by label.
  virtual const std::vector<std::string>& classes() const = 0;
  /// Number of samples.
  virtual std::int64_t size() const = 0;
  /// Sample `index` in [0, size()). Throws Error outside, FileError when its file cannot be decoded.
  virtual Sample get(std::int64_t index) const = 0;
  /// Its label alone, without decoding the picture.
  virtual std::int64_t label(std::int64_t index) const = 0;
  /// What errors call the sample: its path, or "fashion-mnist train #17".
  virtual std::string sample_name(std::int64_t index) const;

 protected:
  void check_index(std::int64_t index) const;
};

/// Pictures of one size held in memory, and their labels: what IDX and CIFAR files become.
class MemoryDataset final : public Dataset {
 public:
  /// `pixels` holds one (H, W, C) picture after the other, one for each label.
  /// Throws Error when the counts disagree or a label is not below the number of classes.
  MemoryDataset(std::string name, std::vector<std::string> classes, std::int64_t height, std::int64_t width,
                std::int64_t channels, std::vector<std::uint8_t> pixels, std::vector<std::uint8_t> labels);

  std::string name() const override { return name_; }
  const std::vector<std::string>& classes() const override { return classes_; }
  std::int64_t size() const override { return static_cast<std::int64_t>(labels_.size()); }
  Sample get(std::int64_t index) const override;
  std::int64_t label(std::int64_t index) const override;

 private:
  std::string name_;
  std::vector<std::string> classes_;
  std::int64_t height_, width_, channels_;
  std::vector<std::uint8_t> pixels_, labels_;
};

}  // namespace replk
