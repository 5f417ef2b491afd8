// im2col on the GPU: the windows of a convolution as columns of a matrix, and back. No autograd.
#pragma once

#include "core/cuda/elementwise.cuh"
#include "core/shape.h"

namespace replk::cuda {

/// Windows of size `kernel` over maps of size `in`; `out` of them down and across a map.
struct Windows {
  Extent2d in, out, kernel, stride, padding, dilation;
};

/// columns[(c * kh + i) * kw + j, q] = x[c, n, ho * sh - ph + i * dh, wo * sw - pw + j * dw], zero outside
/// the map, for the windows q = (n * Ho + ho) * Wo + wo of `samples` samples. x points at the first of them
/// in the first channel; channels are `channel_stride` elements apart. One thread per element of the matrix.
template <class T>
struct Im2col {
  static constexpr int kLanes = 1;
  Windows windows;
  std::int64_t samples, channel_stride;
  const T* x;
  T* columns;

  template <int>
  __device__ void run(std::int64_t index) const {
    const Windows& g = windows;
    const Division at = divide(index, samples * g.out.h * g.out.w);
    const Division tap = divide(at.quotient, g.kernel.w), row = divide(tap.quotient, g.kernel.h);
    const Division across = divide(at.remainder, g.out.w), down = divide(across.quotient, g.out.h);
    const std::int64_t h = down.remainder * g.stride.h - g.padding.h + row.remainder * g.dilation.h;
    const std::int64_t w = across.remainder * g.stride.w - g.padding.w + tap.remainder * g.dilation.w;
    const bool inside = 0 <= h && h < g.in.h && 0 <= w && w < g.in.w;
    const std::int64_t place = (down.quotient * g.in.h + h) * g.in.w + w;
    columns[index] = inside ? x[row.quotient * channel_stride + place] : T{};
  }
};

/// The adjoint: one thread per element of those samples of x collects the elements of `columns` that im2col
/// puts it into.
template <class T>
struct Col2im {
  static constexpr int kLanes = 1;
  Windows windows;
  std::int64_t samples, channel_stride;
  const Accumulator<T>* columns;
  Target<T> x;

  template <int>
  __device__ void run(std::int64_t index) const {
    const Windows& g = windows;
    const Division across = divide(index, g.in.w), down = divide(across.quotient, g.in.h);
    const Division sample = divide(down.quotient, samples);  // channel and sample
    const std::int64_t width = samples * g.out.h * g.out.w;
    Accumulator<T> sum = 0;
    for (std::int64_t i = 0; i < g.kernel.h; ++i) {
      const std::int64_t top = down.remainder + g.padding.h - i * g.dilation.h;
      if (top < 0 || top % g.stride.h != 0 || top / g.stride.h >= g.out.h) continue;
      for (std::int64_t j = 0; j < g.kernel.w; ++j) {
        const std::int64_t left = across.remainder + g.padding.w - j * g.dilation.w;
        if (left < 0 || left % g.stride.w != 0 || left / g.stride.w >= g.out.w) continue;
        const std::int64_t row = (sample.quotient * g.kernel.h + i) * g.kernel.w + j;
        const std::int64_t q = (sample.remainder * g.out.h + top / g.stride.h) * g.out.w + left / g.stride.w;
        sum += columns[row * width + q];
      }
    }
    const std::int64_t in_channel = (sample.remainder * g.in.h + down.remainder) * g.in.w + across.remainder;
    x.put(sample.quotient * channel_stride + in_channel, sum);
  }
};

}  // namespace replk::cuda
