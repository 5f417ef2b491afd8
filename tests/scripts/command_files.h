// A small data set and a network that knows most of it, as files, for the tests of commands.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/random.h"
#include "data/image.h"
#include "ops/normalize_images/normalize_images.h"
#include "scripts/replk/checkpoint.h"
#include "tests/scripts/process.h"

namespace replk::test {

inline constexpr std::int64_t kSide = 16, kImages = 60, kClasses = 3;
inline constexpr std::int64_t kWrongEvery = 5;  // every fifth label is not the network's answer

/// A network with everything that can be merged: small kernels, running statistics and shifts that are not
/// zero. Its answers differ from image to image.
inline std::unique_ptr<RepLKNet> make_network(std::vector<std::int64_t> kernels = {7, 5}) {
  auto model = std::make_unique<RepLKNet>(RepLKNetConfig{.large_kernel_sizes = std::move(kernels),
                                                         .layers = {1, 1},
                                                         .channels = {8, 12},
                                                         .drop_path_rate = 0.1,
                                                         .small_kernel = 3,
                                                         .in_channels = 1,
                                                         .num_classes = kClasses,
                                                         .stem_strides = {2, 1}},
                                          /*seed=*/7);
  Random random(7);
  for (NamedTensor& entry : model->state()) {
    const bool mean = entry.name.ends_with("running_mean"), var = entry.name.ends_with("running_var");
    const bool norm = entry.name.find("bn") != std::string::npos || entry.name.starts_with("norm");
    if (entry.tensor.dtype() != DType::f32) continue;
    for (std::int64_t i = 0; i < entry.tensor.numel(); ++i) {
      float& value = entry.tensor.data<float>()[i];
      if (mean)
        value = static_cast<float>(random.uniform(-0.3, 0.3));
      else if (var)
        value = static_cast<float>(random.uniform(0.3, 1.5));
      else if (norm)
        value += static_cast<float>(random.uniform(-0.2, 0.2));
      else if (entry.name == "head.weight")
        value *= 8;
    }
  }
  model->eval();
  return model;
}

/// The bytes of an IDX file.
inline std::string idx_file_bytes(const std::vector<std::int64_t>& extents, const std::string& data) {
  std::string bytes = {0, 0, 8, static_cast<char>(extents.size())};
  for (const std::int64_t extent : extents)
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(extent >> shift & 255);
  return bytes + data;
}

/// A folder with an IDX data set (data/), a checkpoint of a network (model.safetensors), and what that
/// network says about the test images, computed here image by image.
class CommandFiles {
 public:
  CommandFiles() : model(make_network()) {
    card = {.model = "replknet-test",
            .dataset = data().string(),
            .classes = {"0", "1", "2"},
            .height = kSide,
            .width = kSide,
            .channels = 1,
            .keep_aspect = false,
            .mean = {0.4f},
            .std = {0.25f}};
    Random random(3);
    for (std::int64_t i = 0; i < kImages; ++i) images.push_back(picture(random));
    balance_answers();
    std::string pixels, labels;
    for (std::int64_t i = 0; i < kImages; ++i) {
      pixels.append(images[static_cast<std::size_t>(i)].pixels.begin(),
                    images[static_cast<std::size_t>(i)].pixels.end());
      probabilities.push_back(probabilities_of(images[static_cast<std::size_t>(i)]));
      const std::int64_t answer = best(probabilities.back());
      labels_.push_back(i % kWrongEvery == 0 ? (answer + 1) % kClasses : answer);
      labels += static_cast<char>(labels_.back());
    }
    for (const char* part : {"train", "t10k"}) {
      write_text(data() / (std::string(part) + "-images-idx3-ubyte"),
                 idx_file_bytes({kImages, kSide, kSide}, pixels));
      write_text(data() / (std::string(part) + "-labels-idx1-ubyte"), idx_file_bytes({kImages}, labels));
    }
    save_checkpoint(checkpoint(), *model, metadata_of(card));
  }

  std::filesystem::path data() const { return folder_ / "data"; }
  std::filesystem::path checkpoint() const { return folder_ / "model.safetensors"; }
  std::filesystem::path path(const std::string& name) const { return folder_ / name; }
  std::string text_path(const std::string& name) const { return path(name).string(); }
  std::int64_t label(std::int64_t i) const { return labels_[static_cast<std::size_t>(i)]; }

  static std::int64_t best(const std::vector<double>& values) {
    return std::max_element(values.begin(), values.end()) - values.begin();
  }

  std::vector<double> logits_of(const Image& image) const {
    const Tensor bytes = Tensor::of(image.pixels, {1, kSide, kSide, 1});
    return (*model)(normalize_images(bytes, card.mean, card.std)).data().to_vector();
  }
  /// Softmax of the network's logits for one picture of the right size.
  std::vector<double> probabilities_of(const Image& image) const {
    std::vector<double> p = logits_of(image);
    double sum = 0;
    for (double& value : p) sum += value = std::exp(value);
    for (double& value : p) value /= sum;
    return p;
  }

  ModelCard card;
  std::unique_ptr<RepLKNet> model;
  std::vector<Image> images;
  std::vector<std::vector<double>> probabilities;

 private:
  // A bright rectangle on noise.
  static Image picture(Random& random) {
    Image image = Image::filled(kSide, kSide, 1);
    const std::int64_t top = random.below(kSide), left = random.below(kSide), light = random.below(200);
    for (std::int64_t y = 0; y < kSide; ++y)
      for (std::int64_t x = 0; x < kSide; ++x)
        image.at(y, x, 0) = static_cast<std::uint8_t>(random.below(50) + (y >= top && x >= left ? light : 0));
    return image;
  }

  // Shifts the logits so that no class wins everywhere: all have the mean 0 over the images.
  void balance_answers() {
    std::vector<double> means(kClasses);
    for (const Image& image : images) {
      const std::vector<double> logits = logits_of(image);
      for (std::size_t k = 0; k < logits.size(); ++k) means[k] += logits[k] / kImages;
    }
    for (NamedTensor& entry : model->state())
      if (entry.name == "head.bias")
        for (std::size_t k = 0; k < means.size(); ++k)
          entry.tensor.data<float>()[k] -= static_cast<float>(means[k]);
  }

  TemporaryFolder folder_;
  std::vector<std::int64_t> labels_;
};

/// The files above, made once for all tests; they only read them.
inline const CommandFiles& command_files() {
  static const CommandFiles files;
  return files;
}

/// True for exactly one line "replk: ...".
inline bool is_one_line_error(const std::string& text) {
  return text.starts_with("replk: ") && std::count(text.begin(), text.end(), '\n') == 1 &&
         text.ends_with('\n');
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace replk::test
