// A group of complex planes in vectors, and the transforms along its rows and columns.
// Compiled once per instruction set: include after <hwy/highway.h> in a file that foreach_target.h compiles
// again.
#if defined(REPLK_FFT_PLANES_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef REPLK_FFT_PLANES_INL_H
#undef REPLK_FFT_PLANES_INL_H
#else
#define REPLK_FFT_PLANES_INL_H
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <vector>

#include "ops/depthwise_conv2d/fft-inl.h"
#include "ops/depthwise_conv2d/pair_groups.h"
#include "ops/depthwise_conv2d/plane_lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace replk::cpu::HWY_NAMESPACE {

// Everything that one call's sizes decide.
struct FftShape {
  FftLength h, w;
  std::int64_t columns;  // of a spectrum that are kept: 0 ... w/2, the others follow from symmetry

  explicit FftShape(const DepthwiseConv2dGeometry& g)
      : h(fft_length(g.input.h, g.output.h, g.kernel.h, g.padding.h)),
        w(fft_length(g.input.w, g.output.w, g.kernel.w, g.padding.w)),
        columns(w.value / 2 + 1) {}

  // Offsets, in complex vectors, of the pixels of an image in the upper left corner of a buffer.
  std::vector<std::int64_t> corner(Extent2d size, std::int64_t lanes) const {
    std::vector<std::int64_t> places;
    for (std::int64_t i = 0; i < size.h; ++i)
      for (std::int64_t j = 0; j < size.w; ++j) places.push_back((i * w.value + j) * 2 * lanes);
    return places;
  }
};

// A group of complex planes in lanes, and one column of it and its partner.
template <class T>
class PlaneBuffer {
 public:
  using D = hn::ScalableTag<T>;
  using V = hn::Vec<D>;
  using C = ComplexVector<V>;
  static constexpr std::int64_t kLanes = hn::MaxLanes(D());

  explicit PlaneBuffer(const FftShape& shape)
      : shape_(shape),
        data_(Tensor::empty({shape.h.value * shape.w.value * 2 * kLanes}, dtype_of<T>())),
        columns_(Tensor::empty({2 * shape.h.value * 2 * kLanes}, dtype_of<T>())) {}

  T* data() { return data_.template data<T>(); }
  // Column 0 or 1 of the pair loaded last.
  T* column(int which) { return columns_.template data<T>() + which * shape_.h.value * 2 * kLanes; }

  // Planes to the corner, and the rows they fill transformed. `zeros` stands in for planes that are not
  // there.
  void load(const PairGroups& groups, const T* planes, Extent2d size, const std::vector<std::int64_t>& corner,
            std::int64_t channel, std::int64_t n, const T* zeros) {
    const D d;
    for (int part = 0; part < 2; ++part) {
      const T* plane[kLanes];
      for (std::int64_t lane = 0; lane < kLanes; ++lane) {
        const std::int64_t index = groups.plane(channel, n, lane, part);
        plane[lane] = index < 0 ? zeros : planes + index * size.h * size.w;
      }
      planes_to_lanes(d, plane, size.h * size.w, corner.data(), data() + part * kLanes);
    }
    for (std::int64_t i = 0; i < size.h; ++i) {
      T* row = data() + i * row_size();
      std::fill(row + size.w * 2 * kLanes, row + row_size(), T(0));
      fft(d, row, shape_.w, false);
    }
  }

  // Rows back, and the corner to planes.
  void store(const PairGroups& groups, T* planes, Extent2d size, const std::vector<std::int64_t>& corner,
             std::int64_t channel, std::int64_t n, bool accumulate) {
    const D d;
    for (std::int64_t i = 0; i < size.h; ++i) fft(d, data() + i * row_size(), shape_.w, true);
    for (int part = 0; part < 2; ++part) {
      T* plane[kLanes];
      for (std::int64_t lane = 0; lane < kLanes; ++lane) {
        const std::int64_t index = groups.plane(channel, n, lane, part);
        plane[lane] = index < 0 ? nullptr : planes + index * size.h * size.w;
      }
      lanes_to_planes(d, data() + part * kLanes, corner.data(), plane, size.h * size.w, accumulate);
    }
  }

  std::int64_t partner(std::int64_t q) const { return q ? shape_.w.value - q : 0; }

  // Columns q and -q of the first `rows` rows, zeros below, transformed.
  void load_columns(std::int64_t q, std::int64_t rows) {
    for (int which = 0; which < (partner(q) == q ? 1 : 2); ++which) {
      const T* from = data() + (which ? partner(q) : q) * 2 * kLanes;
      T* to = column(which);
      for (std::int64_t i = 0; i < rows; ++i) copy_complex(from + i * row_size(), to + i * 2 * kLanes);
      std::fill(to + rows * 2 * kLanes, to + shape_.h.value * 2 * kLanes, T(0));
      fft(D(), to, shape_.h, false);
    }
  }

  // The pair of columns transformed back, into the first `rows` rows of `into`.
  void store_columns(std::int64_t q, std::int64_t rows, PlaneBuffer& into) {
    for (int which = 0; which < (partner(q) == q ? 1 : 2); ++which) {
      T* from = column(which);
      fft(D(), from, shape_.h, true);
      T* to = into.data() + (which ? partner(q) : q) * 2 * kLanes;
      for (std::int64_t i = 0; i < rows; ++i) copy_complex(from + i * 2 * kLanes, to + i * row_size());
    }
  }

  // Calls f(place of k, z(k), z(-k)) for every row of the pair of columns loaded last, one of each pair k,
  // -k.
  template <class F>
  HWY_INLINE void for_pairs(std::int64_t q, const F& f) {
    const bool same = partner(q) == q;
    T *first = column(0), *second = same ? first : column(1);
    for (std::int64_t i = 0; i < shape_.h.value; ++i) {
      const std::int64_t opposite = i ? shape_.h.value - i : 0;
      if (same && opposite < i) break;
      f(i, first + i * 2 * kLanes, second + opposite * 2 * kLanes);
    }
  }

  static HWY_INLINE C load_complex(const T* z) { return {hn::Load(D(), z), hn::Load(D(), z + kLanes)}; }
  static HWY_INLINE void store_complex(C c, T* z) {
    hn::Store(c.re, D(), z);
    hn::Store(c.im, D(), z + kLanes);
  }
  std::int64_t row_size() const { return shape_.w.value * 2 * kLanes; }

 private:
  static HWY_INLINE void copy_complex(const T* from, T* to) { store_complex(load_complex(from), to); }

  const FftShape& shape_;
  Tensor data_, columns_;
};

template <class V>
HWY_INLINE ComplexVector<V> conj(ComplexVector<V> a) {
  return {a.re, hn::Neg(a.im)};
}
template <class V>
HWY_INLINE ComplexVector<V> plus(ComplexVector<V> a, ComplexVector<V> b) {
  return {hn::Add(a.re, b.re), hn::Add(a.im, b.im)};
}
template <class V>
HWY_INLINE ComplexVector<V> minus(ComplexVector<V> a, ComplexVector<V> b) {
  return {hn::Sub(a.re, b.re), hn::Sub(a.im, b.im)};
}
template <class V>
HWY_INLINE ComplexVector<V> times(ComplexVector<V> a, ComplexVector<V> b) {
  return {hn::NegMulAdd(a.im, b.im, hn::Mul(a.re, b.re)), hn::MulAdd(a.im, b.re, hn::Mul(a.re, b.im))};
}
template <class V>
HWY_INLINE ComplexVector<V> times_i(ComplexVector<V> a) {
  return {hn::Neg(a.im), a.re};
}
template <class D, class V = hn::Vec<D>>
HWY_INLINE ComplexVector<V> halved(D d, ComplexVector<V> a) {
  const V half = hn::Set(d, hn::TFromD<D>(0.5));
  return {hn::Mul(half, a.re), hn::Mul(half, a.im)};
}

}  // namespace replk::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
