#include "ops/primitives/im2col.h"

#include <algorithm>

#include "core/dry_run.h"

namespace replk::cpu {
namespace {

// ceil(a / b) for b > 0 and any a.
std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return a > 0 ? (a + b - 1) / b : -(-a / b); }

// The windows [begin, end) as pieces of output rows. For each piece calls f(column, length, skip, inside,
// place): `length` windows from `column` on; the first `skip` of them and those after the next `inside` see
// this tap outside the map; the others see it at `place`, `place` + stride.w, ... of the channel.
template <class F>
void for_pieces(const Windows& g, std::int64_t i, std::int64_t j, std::int64_t begin, std::int64_t end,
                const F& f) {
  const std::int64_t shift_w = j * g.dilation.w - g.padding.w;
  const std::int64_t first = std::clamp<std::int64_t>(ceil_div(-shift_w, g.stride.w), 0, g.out.w);
  const std::int64_t last = std::clamp<std::int64_t>(ceil_div(g.in.w - shift_w, g.stride.w), first, g.out.w);
  for (std::int64_t q = begin; q < end;) {
    const std::int64_t n = q / (g.out.h * g.out.w), ho = q / g.out.w % g.out.h, wo = q % g.out.w;
    const std::int64_t length = std::min(end - q, g.out.w - wo);
    const std::int64_t h = ho * g.stride.h - g.padding.h + i * g.dilation.h;
    const bool row_inside = h >= 0 && h < g.in.h;
    const std::int64_t from = std::clamp(first, wo, wo + length);
    const std::int64_t to = row_inside ? std::clamp(last, from, wo + length) : from;
    f(q - begin, length, from - wo, to - from, ((n * g.in.h + h) * g.in.w) + from * g.stride.w + shift_w);
    q += length;
  }
}

}  // namespace

template <class T>
void im2col(const Windows& g, std::int64_t channels, std::int64_t begin, std::int64_t end, const T* x,
            T* columns) {
  if (DryRun::current()) return;
  for (std::int64_t c = 0; c < channels; ++c, x += g.batch * g.in.h * g.in.w)
    for (std::int64_t i = 0; i < g.kernel.h; ++i)
      for (std::int64_t j = 0; j < g.kernel.w; ++j, columns += end - begin)
        for_pieces(g, i, j, begin, end, [&](auto column, auto length, auto skip, auto inside, auto place) {
          T* to = columns + column;
          std::fill_n(to, skip, T{0});
          if (g.stride.w == 1)
            std::copy_n(x + place, inside, to + skip);
          else
            for (std::int64_t p = 0; p < inside; ++p) to[skip + p] = x[place + p * g.stride.w];
          std::fill(to + skip + inside, to + length, T{0});
        });
}

template <class T>
void col2im_add(const Windows& g, std::int64_t channels, std::int64_t begin, std::int64_t end,
                const T* columns, T* x) {
  if (DryRun::current()) return;
  for (std::int64_t c = 0; c < channels; ++c, x += g.batch * g.in.h * g.in.w)
    for (std::int64_t i = 0; i < g.kernel.h; ++i)
      for (std::int64_t j = 0; j < g.kernel.w; ++j, columns += end - begin)
        for_pieces(g, i, j, begin, end, [&](auto column, auto, auto skip, auto inside, auto place) {
          const T* from = columns + column + skip;
          for (std::int64_t p = 0; p < inside; ++p) x[place + p * g.stride.w] += from[p];
        });
}

template void im2col(const Windows&, std::int64_t, std::int64_t, std::int64_t, const float*, float*);
template void im2col(const Windows&, std::int64_t, std::int64_t, std::int64_t, const double*, double*);
template void col2im_add(const Windows&, std::int64_t, std::int64_t, std::int64_t, const float*, float*);
template void col2im_add(const Windows&, std::int64_t, std::int64_t, std::int64_t, const double*, double*);

}  // namespace replk::cpu
