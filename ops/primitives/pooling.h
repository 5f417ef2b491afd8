// Windows of the pooling operators along one axis of a map. No autograd.
#pragma once

#include <algorithm>

#include "core/error.h"
#include "core/shape.h"

namespace replk {

struct Pool2dParams {
  Extent2d kernel_size = 0;  // must be given
  Extent2d stride = 0;       // 0: like kernel_size
  Extent2d padding = 0;      // on each side, at most half the kernel
};

/// Inputs [begin, end) of one output, or outputs [begin, end) of one input.
struct PoolWindow {
  std::int64_t begin, end;
  constexpr std::int64_t size() const { return end - begin; }
};

/// One axis of a pooling: `in` inputs, `out` windows. `kernel` is 0 for an adaptive pooling, whose windows
/// share the axis out evenly (overlapping by one where `out` does not divide `in`).
struct PoolAxis {
  std::int64_t in = 0, out = 0;
  std::int64_t kernel = 0, stride = 0, padding = 0;

  /// Window of output o, cut to the map.
  constexpr PoolWindow window(std::int64_t o) const {
    if (kernel == 0) return {o * in / out, ((o + 1) * in + out - 1) / out};
    const std::int64_t begin = o * stride - padding;
    return {std::max<std::int64_t>(begin, 0), std::min(begin + kernel, in)};
  }
  /// Outputs whose window holds input i; none, or a stretch, since windows move on steadily.
  constexpr PoolWindow outputs_of(std::int64_t i) const {
    if (kernel == 0) return {i * out / in, ((i + 1) * out + in - 1) / in};
    const std::int64_t before = i + padding - kernel;  // the last start whose window ends before i
    return {before < 0 ? 0 : before / stride + 1, std::min((i + padding) / stride + 1, out)};
  }
  /// By what the mean over a window divides: a kernel of fixed size by its size, even over the padding.
  constexpr std::int64_t divisor(PoolWindow w) const { return kernel ? kernel : w.size(); }
};

/// Both axes of a map of `planes` planes, and the output's shape.
struct Pool2dGeometry {
  std::int64_t planes = 0;
  PoolAxis rows = {}, columns = {};
  Shape output_shape = {};

  /// Windows of a fixed size. Errors start with `op`.
  static Pool2dGeometry sliding(const char* op, const Shape& x, const Pool2dParams& params);
  /// Windows that divide the map into output_size parts.
  static Pool2dGeometry adaptive(const char* op, const Shape& x, Extent2d output_size);

  std::int64_t plane_inputs() const { return rows.in * columns.in; }
  std::int64_t plane_outputs() const { return rows.out * columns.out; }
};

}  // namespace replk
