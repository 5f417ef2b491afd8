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

// A group of complex planes in lanes, and one column of it and its partner. Behind the last element of every
// row and below the last row lie zeros: what a transform reads where an image has ended.
template <class T>
class PlaneBuffer {
 public:
  using D = hn::ScalableTag<T>;
  using V = hn::Vec<D>;
  using C = ComplexVector<V>;
  static constexpr std::int64_t kLanes = hn::MaxLanes(D());
  static constexpr std::int64_t kElement = 2 * kLanes;

  // An image in the upper left corner: where its pixels lie, and the elements of its rows and columns.
  struct Corner {
    Extent2d size;
    std::vector<std::int64_t> pixels;
    FftPlaces row, column;
  };

  explicit PlaneBuffer(const FftShape& shape)
      : shape_(shape),
        row_size_((shape.w.value + 1) * kElement),
        memory_(
            Tensor::empty({(shape.h.value + 1) * row_size_ + 2 * shape.h.value * kElement}, dtype_of<T>())),
        data_(memory_.template data<T>()),
        columns_(data_ + (shape.h.value + 1) * row_size_),
        whole_(rows_and_columns({shape.h.value, shape.w.value})),
        work_(shape.h, kElement, shape.h.value),
        mirrored_(shape.h, kElement, shape.h.value, true) {
    for (std::int64_t i = 0; i < shape.h.value; ++i) std::fill_n(row(i + 1) - kElement, kElement, T(0));
    std::fill_n(row(shape.h.value), row_size_, T(0));
  }

  T* data() { return data_; }
  std::int64_t place(std::int64_t i, std::int64_t j) const { return i * row_size_ + j * kElement; }
  T* row(std::int64_t i) { return data_ + i * row_size_; }
  // Column 0 or 1 of the pair at hand.
  T* column(int which) { return columns_ + which * shape_.h.value * kElement; }

  Corner corner(Extent2d size) const {
    Corner result = rows_and_columns(size);
    result.pixels.reserve(static_cast<std::size_t>(size.h * size.w));
    for (std::int64_t i = 0; i < size.h; ++i)
      for (std::int64_t j = 0; j < size.w; ++j) result.pixels.push_back(place(i, j));
    return result;
  }
  const Corner& whole() const { return whole_; }

  // Planes to a corner, and the rows they fill transformed. Whole planes first: read row by row, in turns
  // with the transforms, they come more slowly, since the processor then sees no streams to fetch ahead.
  void load(const PlanePair<const T>& planes, const Corner& corner) {
    const std::int64_t pixels = corner.size.h * corner.size.w;
    planes_to_lanes(D(), planes.a, pixels, corner.pixels.data(), data_);
    planes_to_lanes(D(), planes.b, pixels, corner.pixels.data(), data_ + kLanes);
    transform_rows(0, corner.size.h, corner, false);
  }

  // Rows back, and the corner to planes.
  void store(const PlanePair<T>& planes, const Corner& corner, bool accumulate) {
    const std::int64_t pixels = corner.size.h * corner.size.w;
    transform_rows(0, corner.size.h, corner, true);
    lanes_to_planes(D(), data_, corner.pixels.data(), planes.a, pixels, accumulate);
    lanes_to_planes(D(), data_ + kLanes, corner.pixels.data(), planes.b, pixels, accumulate);
  }

  std::int64_t partner(std::int64_t q) const { return q ? shape_.w.value - q : 0; }
  bool alone(std::int64_t q) const { return partner(q) == q; }

  // Rows from i on in place; of their elements only those of the corner are not zero, or are wanted of the
  // inverse.
  void transform_rows(std::int64_t i, std::int64_t count, const Corner& corner, bool inverse) {
    const Elements<T> all{row(i), whole_.row, row_size_}, some{row(i), corner.row, row_size_};
    fft(D(), shape_.w, inverse, static_cast<int>(count), inverse ? all : some, all, inverse ? some : all);
  }

  // Columns q and -q of a corner transformed into column(0) and column(1).
  void load_columns(std::int64_t q, const Corner& corner) {
    fft(D(), shape_.h, false, alone(q) ? 1 : 2, columns_of(q, corner), work(), work());
  }

  // The pair of columns transformed back, what lies in a corner into the planes.
  void store_columns(std::int64_t q, const Corner& corner) {
    fft(D(), shape_.h, true, alone(q) ? 1 : 2, work(), work(), columns_of(q, corner));
  }

  // Columns q and -q transformed, multiplied with the spectrum of a real kernel of which `spectrum` is column
  // q (or with its conjugate), and transformed back.
  void multiply_columns(std::int64_t q, const Corner& in, const Corner& out, const T* spectrum,
                        bool conjugated) {
    const int count = alone(q) ? 1 : 2;
    fft_there_and_back(
        D(), shape_.h, count, columns_of(q, in), work(), columns_of(q, out), [&](std::size_t pass) HWY_ATTR {
          fft_product_pass(D(), shape_.h, pass, work(), {spectrum, work_}, conjugated);
          if (count == 2)
            fft_product_pass(D(), shape_.h, pass, {column(1), work_}, {spectrum, mirrored_}, !conjugated);
        });
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
  Corner rows_and_columns(Extent2d size) const {
    return {size, {}, FftPlaces(shape_.w, kElement, size.w), FftPlaces(shape_.h, row_size_, size.h)};
  }
  Elements<T> columns_of(std::int64_t q, const Corner& corner) {
    return {data_ + q * kElement, corner.column, (partner(q) - q) * kElement};
  }
  Elements<T> work() { return {column(0), work_, column(1) - column(0)}; }

  const FftShape& shape_;
  std::int64_t row_size_;
  Tensor memory_;
  T *data_, *columns_;
  Corner whole_;
  FftPlaces work_, mirrored_;  // of the columns at hand
};

}  // namespace replk::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
