#include "core/parallel.h"
#include "ops/flatten/flatten.h"

namespace replk::cpu {
namespace {

constexpr std::int64_t kTile = 16;                // blocks: a cache line of f32 when a block is one element
constexpr std::int64_t kWorkPerThread = 1 << 15;  // elements

// to[b, a, :] = from[a, b, :] (or +=) for a in [0, outer), b in [0, inner), blocks of `block` elements. In
// tiles, because for blocks of one element (the map after the global pool) one side is read across its rows.
template <class T>
void swap_outer_axes(std::int64_t outer, std::int64_t inner, std::int64_t block, const T* from, T* to,
                     bool accumulate) {
  const std::int64_t tiles = (inner + kTile - 1) / kTile;
  parallel_for(tiles, kWorkPerThread / (kTile * outer * block + 1) + 1,
               [&](std::int64_t begin, std::int64_t end) {
                 const std::int64_t last = std::min(end * kTile, inner);
                 for (std::int64_t b0 = begin * kTile; b0 < last; b0 += kTile)
                   for (std::int64_t a0 = 0; a0 < outer; a0 += kTile)
                     for (std::int64_t b = b0; b < std::min(b0 + kTile, last); ++b)
                       for (std::int64_t a = a0; a < std::min(a0 + kTile, outer); ++a) {
                         const T* source = from + (a * inner + b) * block;
                         T* target = to + (b * outer + a) * block;
                         for (std::int64_t i = 0; i < block; ++i)
                           target[i] = accumulate ? target[i] + source[i] : source[i];
                       }
               });
}

}  // namespace

void flatten_forward(const Tensor& x, Tensor& y) {
  visit_real("flatten", x.dtype(), [&]<class T>(TypeTag<T>) {
    swap_outer_axes(x.size(0), x.size(1), x.size(2) * x.size(3), x.data<T>(), y.data<T>(), false);
  });
}

void flatten_backward(const Tensor& dy, GradTarget dx) {
  visit_real("flatten", dy.dtype(), [&]<class T>(TypeTag<T>) {
    Tensor& out = dx.tensor;
    swap_outer_axes(out.size(1), out.size(0), out.size(2) * out.size(3), dy.data<T>(), out.data<T>(),
                    dx.accumulate);
  });
}

}  // namespace replk::cpu
