// im2col: the windows of a convolution as columns of a matrix, so that a convolution becomes a product. No
// autograd.
#pragma once

#include <cstdint>

#include "core/shape.h"

namespace replk::cpu {

/// Windows of size `kernel` over maps of size `in`; `out` of them down and across a map, `batch` maps a
/// channel.
struct Windows {
  std::int64_t batch;
  Extent2d in, out, kernel, stride, padding, dilation;
};

/// columns[(c * kh + i) * kw + j, q - begin] = x[c, n, ho * sh - ph + i * dh, wo * sw - pw + j * dw], zero
/// outside the map, for the windows q = (n * Ho + ho) * Wo + wo in [begin, end).
/// x (channels, batch, H, W); columns (channels * kh * kw) x (end - begin). f32, f64.
template <class T>
void im2col(const Windows& windows, std::int64_t channels, std::int64_t begin, std::int64_t end, const T* x,
            T* columns);

/// The adjoint: adds every element of `columns` to the element of x that im2col reads there.
template <class T>
void col2im_add(const Windows& windows, std::int64_t channels, std::int64_t begin, std::int64_t end,
                const T* columns, T* x);

}  // namespace replk::cpu
