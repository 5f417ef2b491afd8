#include "ops/depthwise_conv2d/correlation.h"

#include <algorithm>
#include <utility>

namespace replk::cpu {
namespace {

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return a >= 0 ? (a + b - 1) / b : -(-a / b); }
std::int64_t floor_div(std::int64_t a, std::int64_t b) { return -ceil_div(-a, b); }

PlaneView plain(Extent2d size) { return {0, size.w, 1}; }
PlaneView turned(PlaneView view, Extent2d size) {
  return {view.at(size.h - 1, size.w - 1), -view.row, -view.column};
}

// Along one axis: the taps of one phase of the input gradient, e, e + step, ... , and what they meet.
struct Phase {
  std::int64_t first_tap, taps, outputs, padding;
  Phase(std::int64_t input, std::int64_t kernel, std::int64_t step, std::int64_t pad, std::int64_t r) {
    // dx[h], h = step a + r, meets w[u], u = step q + e, at dy[a - q + (r + pad - e) / step].
    first_tap = (r + pad) % step;
    taps = kernel > first_tap ? ceil_div(kernel - first_tap, step) : 0;
    outputs = input > r ? ceil_div(input - r, step) : 0;
    padding = taps - 1 - (r + pad - first_tap) / step;
  }
};

std::vector<Correlation> input_gradient(const DepthwiseConv2dGeometry& g) {
  using Source = Correlation::Source;
  std::vector<Correlation> phases;
  for (std::int64_t rh = 0; rh < g.stride.h; ++rh)
    for (std::int64_t rw = 0; rw < g.stride.w; ++rw) {
      const Phase h(g.input.h, g.kernel.h, g.stride.h, g.padding.h, rh);
      const Phase w(g.input.w, g.kernel.w, g.stride.w, g.padding.w, rw);
      const Extent2d taps(h.taps, w.taps);
      const PlaneView kernel{h.first_tap * g.kernel.w + w.first_tap, g.stride.h * g.kernel.w, g.stride.w};
      phases.push_back({.a_source = Source::weight,
                        .b_source = Source::dy,
                        .a = taps,
                        .b = g.output,
                        .out = {h.outputs, w.outputs},
                        .a_view = turned(kernel, taps),
                        .b_view = plain(g.output),
                        .out_view = {rh * g.input.w + rw, g.stride.h * g.input.w, g.stride.w},
                        .padding = {h.padding, w.padding}});
    }
  return phases;
}

std::vector<Correlation> forward_or_weight_gradient(const DepthwiseConv2dGeometry& g, DepthwisePass pass) {
  using Source = Correlation::Source;
  const bool forward = pass == DepthwisePass::forward;
  const Extent2d a = forward ? g.kernel : g.output, out = forward ? g.output : g.kernel;
  return {{.a_source = forward ? Source::weight : Source::dy,
           .b_source = Source::x,
           .a = a,
           .b = g.input,
           .out = out,
           .a_view = plain(a),
           .b_view = plain(g.input),
           .out_view = plain(out),
           .padding = g.padding,
           .out_step = forward ? g.stride.h : 1,
           .a_step = forward ? 1 : g.stride.h}};
}

// The same sums with A and B exchanged, both turned by 180 degrees; for steps of 1.
Correlation exchanged(const Correlation& c) {
  Correlation result = c;
  std::swap(result.a_source, result.b_source);
  result.a = c.b, result.b = c.a;
  result.a_view = turned(c.b_view, c.b), result.b_view = turned(c.a_view, c.a);
  result.padding = {c.b.h + c.padding.h - c.a.h, c.b.w + c.padding.w - c.a.w};
  return result;
}

}  // namespace

Correlation::Range Correlation::taps(std::int64_t first, std::int64_t last, std::int64_t a_size,
                                     std::int64_t b_size, std::int64_t pad) const {
  const std::int64_t begin = std::max<std::int64_t>(0, ceil_div(pad - out_step * last, a_step));
  const std::int64_t end = std::min(a_size, floor_div(b_size - 1 + pad - out_step * first, a_step) + 1);
  return {begin, std::max(begin, end)};
}

std::vector<Correlation> correlations_of(const DepthwiseConv2dGeometry& g, DepthwisePass pass) {
  const bool applies = g.dilation == Extent2d(1) && (g.stride == Extent2d(1) || g.stride == Extent2d(2));
  if (!applies) return {};
  std::vector<Correlation> phases =
      pass == DepthwisePass::backward_input ? input_gradient(g) : forward_or_weight_gradient(g, pass);
  if (pass == DepthwisePass::backward_weight || g.stride == Extent2d(2)) return phases;
  const std::vector<Correlation> other = {exchanged(phases.front())};
  return products(other) < products(phases) ? other : phases;
}

std::int64_t products(const std::vector<Correlation>& phases) {
  constexpr std::int64_t kTile = 7;
  std::int64_t total = 0;
  for (const Correlation& c : phases) {
    std::int64_t rows = 0, columns = 0;
    for (std::int64_t i = 0; i < c.out.h; ++i) rows += c.taps_h(i).end - c.taps_h(i).begin;
    for (std::int64_t j = 0; j < c.out.w; j += kTile) {
      const auto [begin, end] = c.taps_w(j, std::min(j + kTile, c.out.w) - 1);
      columns += (end - begin) * kTile;
    }
    total += rows * columns;
  }
  return total;
}

}  // namespace replk::cpu
