// Kernels and their spectra. The spectrum of a real plane has G(-k) = conj G(k), so half of its columns are
// kept. A block holds those of as many channels as a vector has lanes: [column][row][re, im][lane].
// Compiled once per instruction set: include after <hwy/highway.h> in a file that foreach_target.h compiles
// again.
#if defined(REPLK_FFT_SPECTRA_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef REPLK_FFT_SPECTRA_INL_H
#undef REPLK_FFT_SPECTRA_INL_H
#else
#define REPLK_FFT_SPECTRA_INL_H
#endif

#include "core/parallel.h"
#include "ops/depthwise_conv2d/fft_planes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace replk::cpu::HWY_NAMESPACE {

template <class T>
class SpectrumLayout {
 public:
  using Buffer = PlaneBuffer<T>;
  using C = typename Buffer::C;
  static constexpr std::int64_t kLanes = Buffer::kLanes;

  SpectrumLayout(const DepthwiseConv2dGeometry& g, const FftShape& shape)
      : g_(g), shape_(shape), blocks_((g.channels + kLanes - 1) / kLanes) {}

  std::int64_t blocks() const { return blocks_; }
  std::int64_t block_size() const { return shape_.columns * column_size(); }
  std::int64_t column_size() const { return shape_.h.value * 2 * kLanes; }

  // The spectra of all kernels, placed so that g[p - u] = weight[u], times `scale`. Two blocks of channels a
  // transform: real and imaginary part; a last block without a partner gets one of zeros.
  Tensor from_kernels(const T* weight, T scale) const {
    Tensor result = Tensor::empty({(blocks_ + 1) / 2 * 2 * block_size()}, dtype_of<T>());
    T* spectra = result.template data<T>();
    const Tensor zeros = Tensor::zeros({g_.taps()}, dtype_of<T>());
    parallel_for((blocks_ + 1) / 2, 1, [&](std::int64_t begin, std::int64_t end) {
      Buffer buffer(shape_);
      const std::vector<std::int64_t> places = places_of_taps(buffer, -1);
      for (std::int64_t pair = begin; pair < end; ++pair) {
        std::fill_n(buffer.data(), buffer.place(shape_.h.value, 0), T(0));
        const PlanePair<const T> kernels = kernels_of(weight, zeros.template data<T>(), pair);
        planes_to_lanes(D(), kernels.a, g_.taps(), places.data(), buffer.data());
        planes_to_lanes(D(), kernels.b, g_.taps(), places.data(), buffer.data() + kLanes);
        for (std::int64_t u = 0; u < g_.kernel.h; ++u)
          buffer.transform_rows(modulo(g_.padding.h - u, shape_.h.value), 1, buffer.whole(), false);
        for (std::int64_t q = 0; q < shape_.columns; ++q) separate(buffer, q, scale / 2, spectra, pair);
      }
    });
    return result;
  }

  // The way back, for the gradient: dweight[u] (+)= scale * inverse transform at u - p of the sum of `parts`
  // sets of spectra.
  void to_kernels(const T* spectra, std::int64_t parts, T scale, T* dweight, bool accumulate) const {
    parallel_for((blocks_ + 1) / 2, 1, [&](std::int64_t begin, std::int64_t end) {
      Buffer buffer(shape_);
      const std::vector<std::int64_t> places = places_of_taps(buffer, 1);
      for (std::int64_t pair = begin; pair < end; ++pair) {
        for (std::int64_t q = 0; q < shape_.columns; ++q) {
          combine(buffer, q, scale, spectra, parts, pair);
          buffer.store_columns(q, buffer.whole());
        }
        for (std::int64_t u = 0; u < g_.kernel.h; ++u)
          buffer.transform_rows(modulo(u - g_.padding.h, shape_.h.value), 1, buffer.whole(), true);
        const PlanePair<T> kernels = kernels_of(dweight, static_cast<T*>(nullptr), pair);
        lanes_to_planes(D(), buffer.data(), places.data(), kernels.a, g_.taps(), accumulate);
        lanes_to_planes(D(), buffer.data() + kLanes, places.data(), kernels.b, g_.taps(), accumulate);
      }
    });
  }

 private:
  using D = typename Buffer::D;

  template <class P>
  PlanePair<P> kernels_of(P* weight, P* none, std::int64_t pair) const {
    PlanePair<P> kernels;
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      const std::int64_t a = 2 * pair * kLanes + lane, b = a + kLanes;
      kernels.a[lane] = a < g_.channels ? weight + a * g_.taps() : none;
      kernels.b[lane] = b < g_.channels ? weight + b * g_.taps() : none;
    }
    return kernels;
  }

  // Tap u lies at sign * (u - p).
  std::vector<std::int64_t> places_of_taps(const Buffer& buffer, int sign) const {
    std::vector<std::int64_t> places;
    for (std::int64_t u = 0; u < g_.kernel.h; ++u)
      for (std::int64_t v = 0; v < g_.kernel.w; ++v)
        places.push_back(buffer.place(modulo(sign * (u - g_.padding.h), shape_.h.value),
                                      modulo(sign * (v - g_.padding.w), shape_.w.value)));
    return places;
  }

  // Columns q and -q of the transform Z of a + i b:  2 A(k) = Z(k) + conj Z(-k),  2 i B(k) = Z(k) - conj
  // Z(-k).
  void separate(Buffer& buffer, std::int64_t q, T scale, T* spectra, std::int64_t pair) const {
    buffer.load_columns(q, buffer.whole());
    T* to_a = spectra + 2 * pair * block_size() + q * column_size();
    T* to_b = to_a + block_size();
    const auto write = [&](std::int64_t i, C z, C opposite) HWY_ATTR {
      const C a = plus(z, conj(opposite)), b = times_i(minus(conj(opposite), z));
      Buffer::store_complex(scaled(D(), scale, a), to_a + i * 2 * kLanes);
      Buffer::store_complex(scaled(D(), scale, b), to_b + i * 2 * kLanes);
    };
    buffer.for_pairs(q, [&](std::int64_t i, std::int64_t k, std::int64_t minus_k) HWY_ATTR {
      const C z = Buffer::load_complex(buffer.column(0) + k);
      const C opposite = Buffer::load_complex(buffer.column(0) + minus_k);
      write(i, z, opposite);
      // A column that is its own partner holds -k too.
      if (buffer.alone(q) && i) write(shape_.h.value - i, opposite, z);
    });
  }

  // Z(k) = A(k) + i B(k),  Z(-k) = conj A(k) + i conj B(k).
  void combine(Buffer& buffer, std::int64_t q, T scale, const T* spectra, std::int64_t parts,
               std::int64_t pair) const {
    const T* from_a = spectra + 2 * pair * block_size() + q * column_size();
    const T* from_b = 2 * pair + 1 < blocks_ ? from_a + block_size() : nullptr;
    const auto sum = [&](const T* from, std::int64_t i) HWY_ATTR {
      C total = Buffer::load_complex(from + i * 2 * kLanes);
      for (std::int64_t part = 1; part < parts; ++part)
        total = plus(total, Buffer::load_complex(from + part * blocks_ * block_size() + i * 2 * kLanes));
      return scaled(D(), scale, total);
    };
    const C zero = {hn::Zero(D()), hn::Zero(D())};
    for (std::int64_t i = 0; i < shape_.h.value; ++i) {
      const C a = sum(from_a, i), b = from_b ? sum(from_b, i) : zero;
      Buffer::store_complex(plus(a, times_i(b)), buffer.column(0) + i * 2 * kLanes);
      if (buffer.alone(q)) continue;
      const std::int64_t opposite = i ? shape_.h.value - i : 0;
      Buffer::store_complex(plus(conj(a), times_i(conj(b))), buffer.column(1) + opposite * 2 * kLanes);
    }
  }

  const DepthwiseConv2dGeometry& g_;
  const FftShape& shape_;
  std::int64_t blocks_;
};

}  // namespace replk::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
