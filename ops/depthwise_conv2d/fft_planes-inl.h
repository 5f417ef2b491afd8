// Complex planes in vectors, and the transforms along their rows and columns.
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
#include "ops/depthwise_conv2d/plane_lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace replk::cpu::HWY_NAMESPACE {

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
HWY_INLINE ComplexVector<V> scaled(D d, hn::TFromD<D> factor, ComplexVector<V> a) {
  const V f = hn::Set(d, factor);
  return {hn::Mul(f, a.re), hn::Mul(f, a.im)};
}

// The two real planes a, b that lie in the lanes of z = a + i b, as pointers, one per lane. Where there is no
// plane, loading takes zeros (or repeats one: nobody will look) and storing skips a null.
template <class T>
struct PlanePair {
  static constexpr std::int64_t kLanes = hn::MaxLanes(hn::ScalableTag<T>());
  T *a[kLanes], *b[kLanes];
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
        memory_(Tensor::empty({(shape.w.value + 2) * shape.h.value * 2 * kLanes}, dtype_of<T>())),
        data_(memory_.template data<T>()),
        columns_(data_ + shape.w.value * shape.h.value * 2 * kLanes) {}

  T* data() { return data_; }
  T* row(std::int64_t i) { return data_ + modulo(i, shape_.h.value) * row_size(); }
  // Column 0 or 1 of the pair at hand.
  T* column(int which) { return columns_ + which * shape_.h.value * 2 * kLanes; }

  // Where the pixels of an image in the upper left corner lie.
  std::vector<std::int64_t> corner(Extent2d size) const {
    std::vector<std::int64_t> places;
    for (std::int64_t i = 0; i < size.h; ++i)
      for (std::int64_t j = 0; j < size.w; ++j) places.push_back((i * shape_.w.value + j) * 2 * kLanes);
    return places;
  }

  // Planes to the corner, and the rows they fill transformed.
  void load(const PlanePair<const T>& planes, Extent2d size, const std::vector<std::int64_t>& corner) {
    planes_to_lanes(D(), planes.a, size.h * size.w, corner.data(), data_);
    planes_to_lanes(D(), planes.b, size.h * size.w, corner.data(), data_ + kLanes);
    for (std::int64_t i = 0; i < size.h; ++i) transform_row(i, size.w, false);
  }

  // Rows back, and the corner to planes.
  void store(const PlanePair<T>& planes, Extent2d size, const std::vector<std::int64_t>& corner,
             bool accumulate) {
    for (std::int64_t i = 0; i < size.h; ++i) transform_row(i, size.w, true);
    lanes_to_planes(D(), data_, corner.data(), planes.a, size.h * size.w, accumulate);
    lanes_to_planes(D(), data_ + kLanes, corner.data(), planes.b, size.h * size.w, accumulate);
  }

  std::int64_t partner(std::int64_t q) const { return q ? shape_.w.value - q : 0; }
  bool alone(std::int64_t q) const { return partner(q) == q; }

  // Row i in place; of its pixels only the first `width` are not zero, or are wanted of the inverse.
  void transform_row(std::int64_t i, std::int64_t width, bool inverse) {
    T* line = row(i);
    const Elements<T> all{line, 2 * kLanes, shape_.w.value};
    const Elements<T> some{line, 2 * kLanes, width};
    fft(D(), shape_.w, inverse, inverse ? all : some, all, inverse ? some : all);
  }

  // Columns q and -q of the first `rows` rows, zeros below, transformed into column(0) and column(1).
  void load_columns(std::int64_t q, std::int64_t rows) {
    for (int which = 0; which < (alone(q) ? 1 : 2); ++which)
      fft(D(), shape_.h, false, rows_of(q, which, rows), work(which), work(which));
  }

  // The pair of columns transformed back, its first `rows` rows into the planes.
  void store_columns(std::int64_t q, std::int64_t rows) {
    for (int which = 0; which < (alone(q) ? 1 : 2); ++which)
      fft(D(), shape_.h, true, work(which), work(which), rows_of(q, which, rows));
  }

  // Columns q and -q transformed, multiplied with the spectrum of a real kernel of which `spectrum` is column
  // q (or with its conjugate), and transformed back.
  void multiply_columns(std::int64_t q, std::int64_t rows_in, std::int64_t rows_out, const T* spectrum,
                        bool conjugated) {
    for (int which = 0; which < (alone(q) ? 1 : 2); ++which)
      fft_product(D(), shape_.h, rows_of(q, which, rows_in), work(which), rows_of(q, which, rows_out),
                  spectrum, which == 1, (which == 1) != conjugated ? T(-1) : T(1));
  }

  // Calls f(row of k, offset of z(k), offset of z(-k)) for every pair k, -k of the pair of columns at hand;
  // the offsets are from column(0).
  template <class F>
  HWY_INLINE void for_pairs(std::int64_t q, const F& f) const {
    const std::int64_t h = shape_.h.value, second = alone(q) ? 0 : h;
    const std::int64_t rows = alone(q) ? h / 2 + 1 : h;
    for (std::int64_t i = 0; i < rows; ++i) f(i, i * 2 * kLanes, (second + (i ? h - i : 0)) * 2 * kLanes);
  }

  static HWY_INLINE C load_complex(const T* z) { return {hn::Load(D(), z), hn::Load(D(), z + kLanes)}; }
  static HWY_INLINE void store_complex(C c, T* z) {
    hn::Store(c.re, D(), z);
    hn::Store(c.im, D(), z + kLanes);
  }

 private:
  std::int64_t row_size() const { return shape_.w.value * 2 * kLanes; }
  Elements<T> rows_of(std::int64_t q, int which, std::int64_t rows) {
    return {data_ + (which ? partner(q) : q) * 2 * kLanes, row_size(), rows};
  }
  Elements<T> work(int which) { return {column(which), 2 * kLanes, shape_.h.value}; }

  const FftShape& shape_;
  Tensor memory_;
  T *data_, *columns_;
};

}  // namespace replk::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
