// normalize_images: bytes as images come to the activations a network takes.
#pragma once

#include <span>

#include "core/tensor.h"

namespace replk {

/// y[c, n, h, w] = (images[n, h, w, c] / 255 - mean[c]) / std[c]
///
/// images u8 (N, H, W, C); mean and std of C numbers each, of pixels scaled to [0, 1]; y (C, N, H, W) in f32
/// or f64. No autograd. Throws Error for another dtype or rank, a wrong count of means or stds, a std that is
/// not positive and finite, or a mean that is not finite. Source: own.
Tensor normalize_images(const Tensor& images, std::span<const float> mean, std::span<const float> std,
                        DType dtype = DType::f32);

/// What the kernel sees: `pixels` = N*H*W groups of C bytes.
struct NormalizeImagesGeometry {
  std::int64_t pixels, channels;
  static NormalizeImagesGeometry of(const Tensor& images, std::span<const float> mean,
                                    std::span<const float> std);
};

namespace cpu {
void normalize_images(const NormalizeImagesGeometry& g, const Tensor& images, std::span<const float> mean,
                      std::span<const float> std, Tensor& y);
}  // namespace cpu

namespace cuda {  // the same on the GPU, also in bf16 and f16
void normalize_images(const NormalizeImagesGeometry& g, const Tensor& images, std::span<const float> mean,
                      std::span<const float> std, Tensor& y);
}  // namespace cuda

}  // namespace replk
