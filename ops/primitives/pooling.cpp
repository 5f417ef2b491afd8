#include "ops/primitives/pooling.h"

namespace replk {
namespace {

void check_map(const char* op, const Shape& x) {
  check(x.rank() == 4 && x[2] >= 1 && x[3] >= 1, op,
        ": x (C, N, H, W) with at least one pixel expected, got ", x, ".");
}

PoolAxis sliding_axis(const char* op, char axis, std::int64_t in, std::int64_t kernel, std::int64_t stride,
                      std::int64_t padding) {
  check(kernel >= 1 && stride >= 1, op, ": kernel_size and stride of at least 1 expected, got ", kernel,
        " and ", stride, " along ", axis, ".");
  check(padding >= 0 && padding <= kernel / 2, op, ": padding in [0, kernel_size / 2] = [0, ", kernel / 2,
        "] expected along ", axis, ", got ", padding, ".");
  check(in + 2 * padding >= kernel, op, ": a window of ", kernel, " along ", axis, " does not fit into ", in,
        " pixels padded by ", padding, " on each side.");
  return {in, (in + 2 * padding - kernel) / stride + 1, kernel, stride, padding};
}

}  // namespace

Pool2dGeometry Pool2dGeometry::sliding(const char* op, const Shape& x, const Pool2dParams& params) {
  check_map(op, x);
  const Extent2d kernel = params.kernel_size, stride = params.stride == Extent2d() ? kernel : params.stride;
  Pool2dGeometry g;
  g.planes = x[0] * x[1];
  g.rows = sliding_axis(op, 'H', x[2], kernel.h, stride.h, params.padding.h);
  g.columns = sliding_axis(op, 'W', x[3], kernel.w, stride.w, params.padding.w);
  g.output_shape = {x[0], x[1], g.rows.out, g.columns.out};
  return g;
}

Pool2dGeometry Pool2dGeometry::adaptive(const char* op, const Shape& x, Extent2d output_size) {
  check_map(op, x);
  check(output_size.h >= 1 && output_size.w >= 1, op, ": output_size of at least 1x1 expected, got ",
        output_size, ".");
  return {.planes = x[0] * x[1],
          .rows = {.in = x[2], .out = output_size.h},
          .columns = {.in = x[3], .out = output_size.w},
          .output_shape = {x[0], x[1], output_size.h, output_size.w}};
}

}  // namespace replk
