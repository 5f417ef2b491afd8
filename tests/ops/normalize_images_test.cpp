#include "ops/normalize_images/normalize_images.h"

#include <cmath>
#include <limits>

#include "core/parallel.h"
#include "core/random.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"
#include "tests/support/cuda.h"

using namespace replk;
using namespace replk::test;

namespace {

const std::vector<float> kMean{0.485f, 0.456f, 0.406f, 0.3f}, kStd{0.229f, 0.224f, 0.225f, 0.5f};

std::span<const float> first(const std::vector<float>& values, std::int64_t count) {
  return std::span(values).first(static_cast<std::size_t>(count));
}

Tensor random_bytes(const Shape& shape) {
  Tensor images = Tensor::empty(shape, DType::u8);
  Random random(3);
  for (std::int64_t i = 0; i < images.numel(); ++i)
    images.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(random.below(256));
  return images;
}

Values by_definition(const Tensor& images) {
  const std::int64_t pixels = images.size(0) * images.size(1) * images.size(2), channels = images.size(3);
  Values y;
  for (std::int64_t c = 0; c < channels; ++c)
    for (std::int64_t i = 0; i < pixels; ++i) {
      const double byte = images.data<std::uint8_t>()[i * channels + c];
      const auto k = static_cast<std::size_t>(c);
      y.push_back((byte / 255 - static_cast<double>(kMean[k])) / static_cast<double>(kStd[k]));
    }
  return y;
}

}  // namespace

TEST_CASE("ops/normalize_images/values") {
  for (const Shape& shape : {Shape{2, 5, 7, 3}, Shape{1, 1, 1, 1}, Shape{3, 28, 28, 1}, Shape{1, 4, 9, 4},
                             Shape{8, 33, 65, 3}, Shape{0, 5, 5, 3}}) {
    const Tensor images = random_bytes(shape);
    const Values exact = by_definition(images);
    INFO(shape);
    const Tensor y = normalize_images(images, first(kMean, shape[3]), first(kStd, shape[3]));
    CHECK(y.shape() == Shape({shape[3], shape[0], shape[1], shape[2]}));
    CHECK(y.dtype() == DType::f32);
    CHECK(max_difference(y.to_vector(), exact) <= 1.5e-7);  // half an ulp of what is below 4
    const Tensor y64 = normalize_images(images, first(kMean, shape[3]), first(kStd, shape[3]), DType::f64);
    CHECK(max_difference(y64.to_vector(), exact) == 0);
    const int before = num_threads();
    set_num_threads(3);
    CHECK(normalize_images(images, first(kMean, shape[3]), first(kStd, shape[3])).to_vector() ==
          y.to_vector());
    set_num_threads(before);
  }
}

TEST_CASE("ops/normalize_images/on CUDA") {
  if (!cuda_or_skip("normalize_images")) return;
  for (const Shape& shape : {Shape{2, 5, 7, 3}, Shape{1, 1, 1, 1}, Shape{3, 28, 28, 1}, Shape{1, 4, 9, 4},
                             Shape{8, 33, 65, 3}, Shape{8, 32, 32, 3}, Shape{0, 5, 5, 3}})
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16, DType::f16}) {
      const Tensor images = random_bytes(shape);
      INFO(shape << ' ' << dtype);
      const auto mean = first(kMean, shape[3]), std = first(kStd, shape[3]);
      const Tensor y = normalize_images(images.to(Device::cuda()), mean, std, dtype);
      const double tolerance = dtype == DType::f64    ? 0
                               : dtype == DType::f32  ? 1.5e-7
                               : dtype == DType::bf16 ? 0x1p-7
                                                      : 0x1p-10;
      CHECK(max_difference(y.to_vector(), by_definition(images)) <=
            tolerance);  // half an ulp of what is below 4
    }
  // More channels than one launch takes.
  const std::vector<float> mean(70, 0.25f), std(70, 0.5f);
  const Tensor images = random_bytes({1, 3, 5, 70});
  CHECK(normalize_images(images.to(Device::cuda()), mean, std).to_vector() ==
        normalize_images(images, mean, std).to_vector());
}

TEST_CASE("ops/normalize_images/errors") {
  const Tensor images = random_bytes({1, 2, 2, 3});
  check_error(
      [&] {
        normalize_images(Tensor::zeros({1, 2, 2, 3}), first(kMean, 3), first(kStd, 3));
      },
      {"normalize_images", "u8", "f32 (1, 2, 2, 3)"});
  check_error(
      [&] {
        normalize_images(random_bytes({2, 2, 3}), first(kMean, 3), first(kStd, 3));
      },
      {"normalize_images", "(N, H, W, C)", "(2, 2, 3)"});
  check_error([&] { normalize_images(images, first(kMean, 1), first(kStd, 3)); },
              {"normalize_images", "3", "1"});
  for (const float bad : {0.0f, -1.0f, std::numeric_limits<float>::quiet_NaN()})
    check_error(
        [&] {
          normalize_images(images, first(kMean, 3), std::vector<float>{1, bad, 1});
        },
        {"normalize_images", "positive std", "channel 1"});
  check_error([&] { normalize_images(images, first(kMean, 3), first(kStd, 3), DType::bf16); },
              {"normalize_images", "bf16"});
}
