#include "core/parallel.h"
#include "ops/conv2d/conv2d.h"
#include "ops/primitives/gemm.h"
#include "ops/primitives/im2col.h"

namespace replk::cpu {
namespace {

constexpr std::int64_t kBlockElements = 1 << 16;  // of an im2col block: it should stay in the cache of a core
constexpr std::int64_t kPartialElements = 1 << 18;  // of all partial weight gradients together
constexpr std::int64_t kMaxPartials = 16;
constexpr std::int64_t kSumBlock = 1024;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

Windows windows_of(const Conv2dGeometry& g) {
  return {g.batch, g.in, g.out, g.kernel, g.params.stride, g.params.padding, g.params.dilation};
}

// Columns computed at a time. Depends on the shapes alone, and with it every order of summation.
std::int64_t block_columns(const Conv2dGeometry& g) {
  return std::clamp<std::int64_t>(kBlockElements / std::max<std::int64_t>(g.taps(), 1), 64, 1024);
}

template <class T>
Tensor scratch(std::int64_t elements) {
  return Tensor::empty({elements}, dtype_of<T>());
}

// Views of what belongs to one group. Y and dY have one row a channel; a block of columns is an offset.
template <class T>
struct Group {
  const Conv2dGeometry& g;
  std::int64_t index;
  T* map(T* x) const { return x + index * g.group_in() * g.batch * g.in.h * g.in.w; }
  T* rows(T* y, std::int64_t column) const { return y + index * g.group_out() * g.columns() + column; }
  T* weights(T* w) const { return w + index * g.group_out() * g.taps(); }
};

template <class T>
void forward_blocks(const Conv2dGeometry& g, const T* x, const T* weight, const T* bias, T* y) {
  const Windows windows = windows_of(g);
  const std::int64_t width = block_columns(g), blocks = ceil_div(g.columns(), width);
  parallel_for_each(blocks * g.params.groups, [&](std::int64_t task) {
    const std::int64_t index = task / blocks, begin = task % blocks * width;
    const std::int64_t end = std::min(begin + width, g.columns());
    const Group<const T> in{g, index};
    T* to = Group<T>{g, index}.rows(y, begin);
    Tensor block = scratch<T>(g.taps() * (end - begin));
    im2col(windows, g.group_in(), begin, end, in.map(x), block.data<T>());
    gemm(g.group_out(), end - begin, g.taps(), Matrix<const T>{in.weights(weight), g.taps()},
         Matrix<const T>{block.data<T>(), end - begin}, Matrix<T>{to, g.columns()},
         /*accumulate=*/false, {bias ? bias + index * g.group_out() : nullptr, g.params.activation});
  });
}

template <class T>
void backward_input_blocks(const Conv2dGeometry& g, const T* weight, const T* dy, T* dx) {
  const Windows windows = windows_of(g);
  const std::int64_t per_sample = g.out.h * g.out.w, width = block_columns(g);
  // Windows overlap inside a sample, so a task owns whole samples, as many as fill a block.
  const std::int64_t samples = std::max<std::int64_t>(width / per_sample, 1);
  parallel_for_each(ceil_div(g.batch, samples), [&](std::int64_t task) {
    const std::int64_t last = std::min((task + 1) * samples, g.batch) * per_sample;
    Tensor block = scratch<T>(g.taps() * width);
    for (std::int64_t begin = task * samples * per_sample; begin < last; begin += width) {
      const std::int64_t end = std::min(begin + width, last);
      for (std::int64_t index = 0; index < g.params.groups; ++index) {
        const Group<const T> in{g, index};
        gemm(g.taps(), end - begin, g.group_out(),
             Matrix<const T>{in.weights(weight), g.taps(), /*transposed=*/true},
             Matrix<const T>{in.rows(dy, begin), g.columns()}, Matrix<T>{block.data<T>(), end - begin},
             /*accumulate=*/false);
        col2im_add(windows, g.group_in(), begin, end, block.data<T>(), Group<T>{g, index}.map(dx));
      }
    }
  });
}

// The columns are cut into a fixed number of parts, each summed on its own, then the parts in order.
template <class T>
void backward_weight_blocks(const Conv2dGeometry& g, const T* x, const T* dy, T* dweight, bool accumulate) {
  const Windows windows = windows_of(g);
  const std::int64_t elements = g.out_channels * g.taps();
  const std::int64_t width = block_columns(g);
  const std::int64_t blocks = std::max<std::int64_t>(ceil_div(g.columns(), width), 1);
  const std::int64_t affordable = kPartialElements / std::max<std::int64_t>(elements, 1);
  const std::int64_t wanted = std::clamp<std::int64_t>(affordable, 1, std::min(blocks, kMaxPartials));
  const std::int64_t part = ceil_div(blocks, wanted) * width, parts = ceil_div(blocks * width, part);
  Tensor partials = scratch<T>((parts - 1) * elements);  // the first part goes to dweight itself
  T* partial = partials.data<T>();
  parallel_for_each(parts * g.params.groups, [&](std::int64_t task) {
    const std::int64_t index = task / parts, p = task % parts;
    const Group<const T> in{g, index};
    T* to = Group<T>{g, index}.weights(p == 0 ? dweight : partial + (p - 1) * elements);
    Tensor block = scratch<T>(g.taps() * width);
    const std::int64_t first = p * part, last = std::min(first + part, g.columns());
    for (std::int64_t begin = first; begin == first || begin < last; begin += width) {
      const std::int64_t end = std::min(begin + width, last);
      im2col(windows, g.group_in(), begin, end, in.map(x), block.data<T>());
      gemm(g.group_out(), g.taps(), end - begin, Matrix<const T>{in.rows(dy, begin), g.columns()},
           Matrix<const T>{block.data<T>(), end - begin, /*transposed=*/true}, Matrix<T>{to, g.taps()},
           begin > first || (p == 0 && accumulate));
    }
  });
  parallel_for(elements, 1 << 14, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t p = 1; p < parts; ++p)
      for (std::int64_t i = begin; i < end; ++i) dweight[i] += partial[(p - 1) * elements + i];
  });
}

// In blocks, so that the rounding error does not grow with the length of the row.
template <class T>
T row_sum(const T* row, std::int64_t columns) {
  T total = 0;
  for (std::int64_t begin = 0; begin < columns; begin += kSumBlock) {
    T lanes[8] = {};
    const std::int64_t end = std::min(begin + kSumBlock, columns);
    std::int64_t i = begin;
    for (; i + 8 <= end; i += 8)
      for (int l = 0; l < 8; ++l) lanes[l] += row[i + l];
    for (int l = 0; i < end; ++i, ++l) lanes[l] += row[i];
    total +=
        ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
  }
  return total;
}

}  // namespace

void conv2d_forward(const Conv2dGeometry& g, const Tensor& x, const Tensor& weight, const Tensor& bias,
                    Tensor& y) {
  visit_real("conv2d", x.dtype(), [&]<class T>(TypeTag<T>) {
    const T* b = bias.defined() ? bias.data<T>() : nullptr;
    T* to = y.data<T>();
    if (!g.pointwise()) return forward_blocks(g, x.data<T>(), weight.data<T>(), b, to);
    gemm(g.out_channels, g.columns(), g.in_channels, Matrix<const T>{weight.data<T>(), g.in_channels},
         Matrix<const T>{x.data<T>(), g.columns()}, Matrix<T>{to, g.columns()},
         /*accumulate=*/false, {b, g.params.activation});
  });
}

void conv2d_backward_input(const Conv2dGeometry& g, const Tensor& weight, const Tensor& dy, GradTarget dx) {
  visit_real("conv2d", dy.dtype(), [&]<class T>(TypeTag<T>) {
    T* to = dx.tensor.data<T>();
    if (!g.pointwise()) {
      if (!dx.accumulate) dx.tensor.fill(0);
      return backward_input_blocks(g, weight.data<T>(), dy.data<T>(), to);
    }
    gemm(g.in_channels, g.columns(), g.out_channels,
         Matrix<const T>{weight.data<T>(), g.in_channels, /*transposed=*/true},
         Matrix<const T>{dy.data<T>(), g.columns()}, Matrix<T>{to, g.columns()}, dx.accumulate);
  });
}

void conv2d_backward_weight(const Conv2dGeometry& g, const Tensor& x, const Tensor& dy, GradTarget dweight) {
  visit_real("conv2d", dy.dtype(), [&]<class T>(TypeTag<T>) {
    T* to = dweight.tensor.data<T>();
    if (!g.pointwise()) return backward_weight_blocks(g, x.data<T>(), dy.data<T>(), to, dweight.accumulate);
    gemm(g.out_channels, g.in_channels, g.columns(), Matrix<const T>{dy.data<T>(), g.columns()},
         Matrix<const T>{x.data<T>(), g.columns(), /*transposed=*/true}, Matrix<T>{to, g.in_channels},
         dweight.accumulate);
  });
}

void conv2d_backward_bias(const Conv2dGeometry& g, const Tensor& dy, GradTarget dbias) {
  visit_real("conv2d", dy.dtype(), [&]<class T>(TypeTag<T>) {
    const T* from = dy.data<T>();
    T* to = dbias.tensor.data<T>();
    parallel_for(g.out_channels, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t o = begin; o < end; ++o) {
        const T sum = row_sum(from + o * g.columns(), g.columns());
        to[o] = dbias.accumulate ? to[o] + sum : sum;
      }
    });
  });
}

}  // namespace replk::cpu
