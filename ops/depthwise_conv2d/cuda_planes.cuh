// Rows of several images' planes side by side in shared memory, as both tensor-core kernels read them.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/cuda/vector.cuh"
#include "ops/depthwise_conv2d/cuda_plan.h"

namespace replk::cuda {

/// n / divisor by a multiplication: for n * divisor < 2^32. (A division takes some twenty instructions, and
/// the loops here would do little else.)
struct QuickDivision {
  unsigned divisor, factor;
  __device__ explicit QuickDivision(unsigned d) : divisor(d), factor(d == 1 ? 0 : 0xffffffffu / d + 1) {}
  __device__ unsigned operator()(unsigned n) const { return factor ? __umulhi(n, factor) : n; }
};

/// Fills the shared memory of a region with zeros: columns past the last and margins must be finite.
__device__ inline void clear_region(const PlaneRegion& region, char* shared) {
  const int vectors = region.bytes() / 16;
  for (int i = threadIdx.x; i < vectors; i += blockDim.x)
    reinterpret_cast<uint4*>(shared)[i] = make_uint4(0, 0, 0, 0);
}

/// Copies a region, kVector elements (of 2 to 16 bytes together) at a time. `planes` points at the first of
/// the region's images, each `plane` elements of rows of `width`; only the first `images` exist.
template <int kVector, class T>
__device__ void load_region(const PlaneRegion& region, const T* __restrict__ planes, std::int64_t plane,
                            int width, int images, char* shared) {
  struct alignas(kVector * sizeof(T)) Vector {
    T x[kVector];
  };
  const unsigned per_row = region.columns / kVector, per_image = per_row * region.rows;
  const unsigned count = per_image * images;
  if (count == 0) return;
  const QuickDivision image_of(per_image), row_of(per_row);
#pragma unroll 8
  for (unsigned i = threadIdx.x; i < count; i += blockDim.x) {
    const unsigned image = image_of(i), rest = i - image * per_image;
    const unsigned r = row_of(rest), v = (rest - r * per_row) * kVector;
    const T* from =
        planes + image * plane + static_cast<std::int64_t>(region.row + r) * width + region.column + v;
    *reinterpret_cast<Vector*>(shared + (((r + region.margin) << region.image_bits) + image) * region.pitch +
                               v * sizeof(T)) = *reinterpret_cast<const Vector*>(from);
  }
}

/// Calls f(integral constant) with the most elements, of up to 16 bytes together, of which every one of
/// `places` (offsets, lengths of rows: their bits joined by |) is a multiple.
template <class T, class F>
__device__ void with_vector(unsigned places, const F& f) {
  constexpr int kMost = 16 / sizeof(T);
  if (places % kMost == 0)
    f(std::integral_constant<int, kMost>());
  else if (places % (kMost / 2) == 0)
    f(std::integral_constant<int, kMost / 2>());
  else if (kMost > 4 && places % 2 == 0)
    f(std::integral_constant<int, 2>());
  else
    f(std::integral_constant<int, 1>());
}
/// Of a pointer, in elements.
template <class T>
__device__ unsigned place_of(const T* p) {
  return static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(p) / sizeof(T));
}

template <class T>
__device__ void load_region(const PlaneRegion& region, const T* __restrict__ planes, std::int64_t plane,
                            int width, int images, char* shared) {
  with_vector<T>(width | region.column | region.columns | place_of(planes),
                 [&]<int kVector>(std::integral_constant<int, kVector>) {
                   load_region<kVector>(region, planes, plane, width, images, shared);
                 });
}

}  // namespace replk::cuda
