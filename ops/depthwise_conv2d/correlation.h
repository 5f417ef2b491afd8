// The passes of the direct kernel as correlations of two small images.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/depthwise_conv2d/depthwise_conv2d.h"

namespace replk::cpu {

/// Where the pixels of an image lie in a plane: pixel (h, w) at offset + h * row + w * column. Negative steps
/// turn the image by 180 degrees, steps of 2 take every second pixel.
struct PlaneView {
  std::int64_t offset, row, column;
  std::int64_t at(std::int64_t h, std::int64_t w) const { return offset + h * row + w * column; }
};

/// out[i, j] = sum over u, v of A[u, v] * B[os * i + as * u - p, os * j + as * v - p]   (B = 0 outside)
struct Correlation {
  enum class Source { weight, x, dy };
  Source a_source, b_source;
  Extent2d a, b, out;  // sizes of the three images
  PlaneView a_view, b_view, out_view;
  Extent2d padding;           // may be negative
  std::int64_t out_step = 1;  // os; (os, as) is (1, 1), (2, 1) or (1, 2)
  std::int64_t a_step = 1;    // as

  /// Rows or columns [begin, end) of A that outputs first ... last of a row or column can meet inside B.
  struct Range {
    std::int64_t begin, end;
  };
  Range taps_h(std::int64_t i) const { return taps(i, i, a.h, b.h, padding.h); }
  Range taps_w(std::int64_t first, std::int64_t last) const { return taps(first, last, a.w, b.w, padding.w); }

 private:
  Range taps(std::int64_t first, std::int64_t last, std::int64_t a_size, std::int64_t b_size,
             std::int64_t pad) const;
};

/// One pass as one correlation, or as four for the input gradient with stride 2: every pixel of dx with an
/// even row meets other taps than one with an odd row, likewise columns. Where the kernel is larger than the
/// map A and B are exchanged (and turned), so that only products that count are computed. Empty unless the
/// stride is 1 or 2 along both axes and the dilation is 1: then the naive kernel has to do.
std::vector<Correlation> correlations_of(const DepthwiseConv2dGeometry& g, DepthwisePass pass);

/// Multiply-adds of one plane, those included in which a tile of 7 outputs meets zeros.
std::int64_t products(const std::vector<Correlation>& phases);

}  // namespace replk::cpu
