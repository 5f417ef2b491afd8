#include "ops/normalize_images/normalize_images.h"

#include <cmath>

#include "core/dispatch.h"

namespace replk {

NormalizeImagesGeometry NormalizeImagesGeometry::of(const Tensor& images, std::span<const float> mean,
                                                    std::span<const float> std) {
  check(images.rank() == 4 && images.dtype() == DType::u8,
        "normalize_images: images u8 (N, H, W, C) expected, got ", images, ".");
  const std::int64_t channels = images.size(3);
  check(static_cast<std::int64_t>(mean.size()) == channels && mean.size() == std.size(),
        "normalize_images: ", channels, " means and stds expected for images ", images.shape(),
        " in (N, H, W, C), got ", mean.size(), " and ", std.size(), ".");
  for (std::size_t c = 0; c < mean.size(); ++c)
    check(std::isfinite(mean[c]) && std::isfinite(std[c]) && std[c] > 0,
          "normalize_images: a finite mean and a positive std expected for channel ", c, ", got ", mean[c],
          " and ", std[c], ".");
  return {images.size(0) * images.size(1) * images.size(2), channels};
}

Tensor normalize_images(const Tensor& images, std::span<const float> mean, std::span<const float> std,
                        DType dtype) {
  const auto g = NormalizeImagesGeometry::of(images, mean, std);
  Tensor y =
      Tensor::empty({g.channels, images.size(0), images.size(1), images.size(2)}, dtype, images.device());
  dispatch(
      "normalize_images", y.device(), [&] { cpu::normalize_images(g, images, mean, std, y); },
      [&] { cuda::normalize_images(g, images, mean, std, y); });
  return y;
}

}  // namespace replk
