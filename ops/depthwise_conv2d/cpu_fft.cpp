// The FFT kernel: convolution as a product of spectra, for large kernels with stride 1.
//
// Two real planes that share a kernel travel as one complex plane z = a + i b: convolution with a real kernel
// keeps the parts apart. So no real transform is needed, and 16 lanes (f32, AVX-512) carry 32 planes. With G
// the transform of the kernel, placed so that g[p - u] = weight[u]:
//
//     forward          Y  = X G              y[i]  = sum over u of weight[u] x[i + u - p]
//     backward input   dX = dY conj(G)       dx[j] = sum over u of weight[u] dy[j - u + p]
//     backward weight  dW = sum over planes of X conj(dY), real part;  dweight[u] = dW[u - p]
//
// Lengths L >= H + p, Ho + K - 1 - p, Ho and K suffice in each direction: what wraps around lands in outputs
// that nobody keeps. A batch of 1 pairs planes of two channels with kernels ga and gb: with P = (Ga + Gb) /
// 2, M = (Ga - Gb) / 2,
//
//     transform(a * ga + i b * gb)(k) = Z(k) P(k) + conj(Z(-k)) M(k)
//
// A group of planes takes three passes over its buffer: planes -> lanes -> rows transformed; each pair of
// columns q, -q transformed, multiplied and transformed back while it is in the first-level cache; rows back
// -> lanes -> planes. Rows of zeros are neither stored nor transformed. Cost of a pair of planes: about (H +
// Ho + 2 L) transforms of length L, against 2 Ho Wo K K multiply-adds. The error of a plane is relative to
// the largest value in its pair of planes, and one NaN spreads over both.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/depthwise_conv2d/cpu_fft.cpp"

#include <algorithm>
#include <vector>

#include "core/parallel.h"
#include "ops/depthwise_conv2d/pair_groups.h"
#include "ops/primitives/simd_targets.h"
// Highway compiles the rest of this file once per instruction set.
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/depthwise_conv2d/fft_planes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace replk::cpu::HWY_NAMESPACE {
namespace {

// The spectra of all kernels, scaled by 1 / (Lh Lw): lane = channel within its block of kLanes channels. For
// pairs of channels blocks 2b and 2b + 1 hold P and M of channels 2b kLanes ... instead of Ga and Gb.
template <class T>
class Spectra {
 public:
  using Buffer = PlaneBuffer<T>;
  using C = typename Buffer::C;
  static constexpr std::int64_t kLanes = Buffer::kLanes;

  Spectra(const DepthwiseConv2dGeometry& g, const FftShape& shape, const PairGroups& groups, const T* weight)
      : shape_(shape), block_size_(shape.columns * shape.h.value * 2 * kLanes) {
    const std::int64_t pairs = (g.channels + 2 * kLanes - 1) / (2 * kLanes);
    data_ = Tensor::empty({2 * pairs * block_size_}, dtype_of<T>());
    PairGroups all = groups;  // every channel's kernel is one plane, two channels a lane
    all.pairs_channels = true;
    const Tensor zeros = Tensor::zeros({g.taps()}, dtype_of<T>());
    parallel_for(pairs, 1, [&](std::int64_t begin, std::int64_t end) {
      Buffer buffer(shape);
      for (std::int64_t pair = begin; pair < end; ++pair) {
        std::vector<std::int64_t> places;
        for (std::int64_t u = 0; u < g.kernel.h; ++u)
          for (std::int64_t v = 0; v < g.kernel.w; ++v)
            places.push_back((modulo(g.padding.h - u, shape.h.value) * shape.w.value +
                              modulo(g.padding.w - v, shape.w.value)) *
                             2 * kLanes);
        transform(buffer, all, g, weight, zeros.data<T>(), places, pair, groups.pairs_channels);
      }
    });
  }

  const T* column(std::int64_t block, std::int64_t q) const {
    return data_.template data<T>() + block * block_size_ + q * shape_.h.value * 2 * kLanes;
  }

 private:
  void transform(Buffer& buffer, const PairGroups& all, const DepthwiseConv2dGeometry& g, const T* weight,
                 const T* zeros, const std::vector<std::int64_t>& places, std::int64_t pair,
                 bool pairs_channels) {
    const hn::ScalableTag<T> d;
    std::fill_n(buffer.data(), shape_.h.value * buffer.row_size(), T(0));
    for (int part = 0; part < 2; ++part) {
      const T* kernel[kLanes];
      for (std::int64_t lane = 0; lane < kLanes; ++lane) {
        const std::int64_t c = all.plane(pair * 2 * kLanes, 0, lane, part);
        kernel[lane] = c < 0 ? zeros : weight + c * g.taps();
      }
      planes_to_lanes(d, kernel, g.taps(), places.data(), buffer.data() + part * kLanes);
    }
    for (std::int64_t u = 0; u < g.kernel.h; ++u)
      fft(d, buffer.data() + modulo(g.padding.h - u, shape_.h.value) * buffer.row_size(), shape_.w, false);
    T* first = data_.template data<T>() + 2 * pair * block_size_;
    const auto scale = hn::Set(d, T(0.5) / static_cast<T>(shape_.h.value * shape_.w.value));
    for (std::int64_t q = 0; q < shape_.columns; ++q) {
      buffer.load_columns(q, shape_.h.value);
      T *column_a = first + q * shape_.h.value * 2 * kLanes, *column_b = column_a + block_size_;
      const auto write = [&](std::int64_t i, C z, C opposite) HWY_ATTR {
        // 2 Ga = Z(k) + conj Z(-k), 2 Gb = (Z(k) - conj Z(-k)) / i
        C a = plus(z, conj(opposite)), b = times_i(minus(conj(opposite), z));
        if (pairs_channels) {
          const C p = halved(d, plus(a, b)), m = halved(d, minus(a, b));
          a = p, b = m;
        }
        Buffer::store_complex({hn::Mul(scale, a.re), hn::Mul(scale, a.im)}, column_a + i * 2 * kLanes);
        Buffer::store_complex({hn::Mul(scale, b.re), hn::Mul(scale, b.im)}, column_b + i * 2 * kLanes);
      };
      buffer.for_pairs(q, [&](std::int64_t i, const T* z, const T* opposite) HWY_ATTR {
        const C at_k = Buffer::load_complex(z), at_minus_k = Buffer::load_complex(opposite);
        write(i, at_k, at_minus_k);
        // A column that is its own partner holds -k too; in the others -k belongs to a column that is not
        // kept.
        if (buffer.partner(q) == q && i && shape_.h.value - i != i)
          write(shape_.h.value - i, at_minus_k, at_k);
      });
    }
  }

  const FftShape& shape_;
  std::int64_t block_size_;
  Tensor data_;
};

// z(k) and z(-k) times the kernels' spectra (their conjugates for the input gradient), in place, for one pair
// of columns.
template <class T>
class Multiplier {
 public:
  using Buffer = PlaneBuffer<T>;
  using D = typename Buffer::D;
  using C = typename Buffer::C;
  static constexpr std::int64_t kLanes = Buffer::kLanes;

  Multiplier(const Spectra<T>& spectra, const PairGroups& groups, std::int64_t channel, bool conjugated)
      : spectra_(spectra),
        pairs_channels_(groups.pairs_channels),
        conjugated_(conjugated),
        block_(channel / kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane)
      lane_to_channel_[lane] = static_cast<Index>((channel + lane / groups.lanes_per_channel) % kLanes);
  }

  void operator()(Buffer& buffer, std::int64_t q) const {
    if (pairs_channels_)
      multiply_pairs(buffer, q);
    else
      multiply_shared(buffer, q);
  }

 private:
  using Index = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;

  HWY_INLINE C spectrum(const T* column, std::int64_t i) const {
    const C g = Buffer::load_complex(column + i * 2 * kLanes);
    return conjugated_ ? conj(g) : g;
  }

  void multiply_shared(Buffer& buffer, std::int64_t q) const {
    const D d;
    const auto indices = hn::SetTableIndices(d, lane_to_channel_);
    const T* column = spectra_.column(block_, q);
    const bool same = buffer.partner(q) == q;
    buffer.for_pairs(q, [&](std::int64_t i, T* z, T* opposite) HWY_ATTR {
      const C at_block = spectrum(column, i);
      const C g = {hn::TableLookupLanes(at_block.re, indices), hn::TableLookupLanes(at_block.im, indices)};
      const C y = times(Buffer::load_complex(z), g);
      if (!same || z != opposite)
        Buffer::store_complex(times(Buffer::load_complex(opposite), conj(g)), opposite);
      Buffer::store_complex(y, z);
    });
  }

  void multiply_pairs(Buffer& buffer, std::int64_t q) const {
    const T *column_p = spectra_.column(block_, q), *column_m = spectra_.column(block_ + 1, q);
    buffer.for_pairs(q, [&](std::int64_t i, T* z, T* opposite) HWY_ATTR {
      const C p = spectrum(column_p, i), m = spectrum(column_m, i);
      const C a = Buffer::load_complex(z), b = Buffer::load_complex(opposite);
      Buffer::store_complex(plus(times(b, conj(p)), times(conj(a), conj(m))), opposite);
      Buffer::store_complex(plus(times(a, p), times(conj(b), m)), z);
    });
  }

  const Spectra<T>& spectra_;
  bool pairs_channels_, conjugated_;
  std::int64_t block_;
  HWY_ALIGN Index lane_to_channel_[kLanes];
};

// sum += X conj(dY) for the pair of columns q of both buffers; `sum` is laid out like a buffer's planes.
template <class T>
void accumulate_product(PlaneBuffer<T>& x, PlaneBuffer<T>& dy, std::int64_t q, bool pairs_channels,
                        bool first, T* sum) {
  using Buffer = PlaneBuffer<T>;
  using C = typename Buffer::C;
  const hn::ScalableTag<T> d;
  constexpr std::int64_t kLanes = Buffer::kLanes;
  const bool same = x.partner(q) == q;
  T *at_q = sum + q * 2 * kLanes, *at_minus_q = sum + x.partner(q) * 2 * kLanes;
  const std::int64_t rows_back = x.row_size();
  T* const dy_first = dy.column(0);
  T* const dy_second = same ? dy_first : dy.column(1);
  const T *x_first = x.column(0), *x_second = same ? x_first : x.column(1);
  const auto add = [&](T* to, C value) HWY_ATTR {
    Buffer::store_complex(first ? value : plus(Buffer::load_complex(to), value), to);
  };
  x.for_pairs(q, [&](std::int64_t i, T* z, T* opposite) HWY_ATTR {
    const std::int64_t place = z - x_first, opposite_place = opposite - x_second;
    const C x1 = Buffer::load_complex(z), x2 = Buffer::load_complex(opposite);
    const C d1 = Buffer::load_complex(dy_first + place),
            d2 = Buffer::load_complex(dy_second + opposite_place);
    C to_k, to_minus_k;
    if (pairs_channels) {
      // Two correlations of two real pairs: a with a, b with b, the second again as the imaginary part.
      const C a = halved(d, times(halved(d, plus(x1, conj(x2))), conj(plus(d1, conj(d2)))));
      const C b = halved(d, times(halved(d, minus(x1, conj(x2))), conj(minus(d1, conj(d2)))));
      to_k = plus(a, times_i(b));
      to_minus_k = plus(conj(a), times_i(conj(b)));
    } else {
      to_k = times(x1, conj(d1));
      to_minus_k = times(x2, conj(d2));
    }
    const std::int64_t row = i * rows_back, opposite_row = opposite_place / (2 * kLanes) * rows_back;
    if (z != opposite) add(at_minus_q + opposite_row, to_minus_k);
    add(at_q + row, to_k);
  });
}

template <class T>
void forward_or_input(const DepthwiseConv2dGeometry& g, const T* from, const T* weight, const T* bias, T* to,
                      bool backward, bool accumulate) {
  using Buffer = PlaneBuffer<T>;
  constexpr std::int64_t kLanes = Buffer::kLanes;
  const FftShape shape(g);
  const PairGroups groups(g, kLanes);
  const Spectra<T> spectra(g, shape, groups, weight);
  const Extent2d in = backward ? g.output : g.input, out = backward ? g.input : g.output;
  const auto in_corner = shape.corner(in, kLanes), out_corner = shape.corner(out, kLanes);
  const Tensor zeros = Tensor::zeros({in.h * in.w}, dtype_of<T>());
  parallel_for(groups.units, 1, [&](std::int64_t begin, std::int64_t end) {
    Buffer buffer(shape);
    for (std::int64_t unit = begin; unit < end; ++unit) {
      const std::int64_t channel = unit * groups.channels_at_once;
      const Multiplier<T> multiply(spectra, groups, channel, backward);
      for (std::int64_t n = 0; n < g.batch; n += groups.samples_at_once) {
        buffer.load(groups, from, in, in_corner, channel, n, zeros.data<T>());
        for (std::int64_t q = 0; q < shape.columns; ++q) {
          buffer.load_columns(q, in.h);
          multiply(buffer, q);
          buffer.store_columns(q, out.h, buffer);
        }
        buffer.store(groups, to, out, out_corner, channel, n, accumulate);
      }
    }
  });
  if (!bias) return;
  const std::int64_t pixels = out.h * out.w * g.batch;
  parallel_for(g.channels, (1 << 15) / std::max<std::int64_t>(pixels, 1) + 1,
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t c = begin; c < end; ++c)
                   for (std::int64_t i = c * pixels; i < (c + 1) * pixels; ++i) to[i] += bias[c];
               });
}

// dweight[c] = sum over lanes of channel c of the corner at -p of the inverse transform of `sum`.
template <class T>
void weight_gradient(const DepthwiseConv2dGeometry& g, const T* x, const T* dy, T* dweight, bool accumulate) {
  using Buffer = PlaneBuffer<T>;
  constexpr std::int64_t kLanes = Buffer::kLanes;
  const FftShape shape(g);
  const PairGroups groups(g, kLanes);
  const auto x_corner = shape.corner(g.input, kLanes), dy_corner = shape.corner(g.output, kLanes);
  const Tensor zeros =
      Tensor::zeros({std::max(g.input.h * g.input.w, g.output.h * g.output.w)}, dtype_of<T>());
  const T scale = T(1) / static_cast<T>(shape.h.value * shape.w.value);
  parallel_for(groups.units, 1, [&](std::int64_t begin, std::int64_t end) {
    Buffer x_buffer(shape), dy_buffer(shape), sum(shape);
    for (std::int64_t unit = begin; unit < end; ++unit) {
      const std::int64_t channel = unit * groups.channels_at_once;
      for (std::int64_t n = 0; n < g.batch; n += groups.samples_at_once) {
        x_buffer.load(groups, x, g.input, x_corner, channel, n, zeros.data<T>());
        dy_buffer.load(groups, dy, g.output, dy_corner, channel, n, zeros.data<T>());
        for (std::int64_t q = 0; q < shape.columns; ++q) {
          x_buffer.load_columns(q, g.input.h);
          dy_buffer.load_columns(q, g.output.h);
          accumulate_product(x_buffer, dy_buffer, q, groups.pairs_channels, n == 0, sum.data());
        }
      }
      // Back: columns of all rows, then the rows of the taps only.
      for (std::int64_t q = 0; q < shape.columns; ++q) {
        for (int which = 0; which < (sum.partner(q) == q ? 1 : 2); ++which)
          for (std::int64_t i = 0; i < shape.h.value; ++i)
            Buffer::store_complex(Buffer::load_complex(sum.data() + i * sum.row_size() +
                                                       (which ? sum.partner(q) : q) * 2 * kLanes),
                                  sum.column(which) + i * 2 * kLanes);
        sum.store_columns(q, shape.h.value, sum);
      }
      for (std::int64_t u = 0; u < g.kernel.h; ++u)
        fft(hn::ScalableTag<T>(), sum.data() + modulo(u - g.padding.h, shape.h.value) * sum.row_size(),
            shape.w, true);
      const std::int64_t channels = std::min(groups.channels_at_once, g.channels - channel);
      for (std::int64_t k = 0; k < channels; ++k)
        for (std::int64_t u = 0; u < g.kernel.h; ++u)
          for (std::int64_t v = 0; v < g.kernel.w; ++v) {
            const T* lanes = sum.data() + modulo(u - g.padding.h, shape.h.value) * sum.row_size() +
                             modulo(v - g.padding.w, shape.w.value) * 2 * kLanes;
            // Pairs of channels: real parts of kLanes channels, then imaginary parts of as many more.
            const T total = groups.pairs_channels
                                ? lanes[k]
                                : sum_lanes(hn::ScalableTag<T>(), lanes, k * groups.lanes_per_channel,
                                            groups.lanes_per_channel);
            T& to = dweight[(channel + k) * g.taps() + u * g.kernel.w + v];
            to = accumulate ? to + scale * total : scale * total;
          }
    }
  });
}

void fft_forward(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& weight, const Tensor& bias,
                 Tensor& y) {
  visit_real("depthwise_conv2d", x.dtype(), [&]<class T>(TypeTag<T>) {
    forward_or_input<T>(g, x.data<T>(), weight.data<T>(), bias.defined() ? bias.data<T>() : nullptr,
                        y.data<T>(), false, false);
  });
}

void fft_backward_input(const DepthwiseConv2dGeometry& g, const Tensor& weight, const Tensor& dy,
                        const GradTarget& dx) {
  visit_real("depthwise_conv2d", dy.dtype(), [&]<class T>(TypeTag<T>) {
    Tensor to = dx.tensor;
    forward_or_input<T>(g, dy.data<T>(), weight.data<T>(), nullptr, to.data<T>(), true, dx.accumulate);
  });
}

void fft_backward_weight(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& dy,
                         const GradTarget& dweight) {
  visit_real("depthwise_conv2d", dy.dtype(), [&]<class T>(TypeTag<T>) {
    Tensor to = dweight.tensor;
    weight_gradient<T>(g, x.data<T>(), dy.data<T>(), to.data<T>(), dweight.accumulate);
  });
}

}  // namespace
}  // namespace replk::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace replk::cpu {
HWY_EXPORT(fft_forward);
HWY_EXPORT(fft_backward_input);
HWY_EXPORT(fft_backward_weight);

bool depthwise_fft_applies(const DepthwiseConv2dGeometry& g) {
  const auto fits = [](std::int64_t input, std::int64_t output, std::int64_t kernel, std::int64_t padding) {
    return std::max({input + padding, output + kernel - 1 - padding, output, kernel}) <= FftLength::kLongest;
  };
  return g.stride == Extent2d(1) && g.dilation == Extent2d(1) &&
         fits(g.input.h, g.output.h, g.kernel.h, g.padding.h) &&
         fits(g.input.w, g.output.w, g.kernel.w, g.padding.w);
}

void depthwise_conv2d_forward_fft(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& weight,
                                  const Tensor& bias, Tensor& y) {
  HWY_DYNAMIC_DISPATCH(fft_forward)(g, x, weight, bias, y);
}
void depthwise_conv2d_backward_input_fft(const DepthwiseConv2dGeometry& g, const Tensor& weight,
                                         const Tensor& dy, GradTarget dx) {
  HWY_DYNAMIC_DISPATCH(fft_backward_input)(g, weight, dy, dx);
}
void depthwise_conv2d_backward_weight_fft(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& dy,
                                          GradTarget dweight) {
  HWY_DYNAMIC_DISPATCH(fft_backward_weight)(g, x, dy, dweight);
}

}  // namespace replk::cpu
#endif  // HWY_ONCE
