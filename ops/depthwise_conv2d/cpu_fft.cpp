// The FFT kernel: convolution as a product of spectra, for large kernels with stride 1.
//
// One channel per vector lane, and two samples of it at a time: real planes a, b travel as one complex plane
// z = a + i b, which convolution with a real kernel keeps apart. With G the transform of the kernel, placed
// so that g[p - u] = weight[u]:
//
//     forward          Y  = X G              y[i]  = sum over u of weight[u] x[i + u - p]
//     backward input   dX = dY conj(G)       dx[j] = sum over u of weight[u] dy[j - u + p]
//     backward weight  dW = sum over planes of X conj(dY), real part;  dweight[u] = dW[u - p]
//
// A batch of 1 pairs planes of two channels instead; their spectra, A(k) = (Z(k) + conj Z(-k)) / 2 and B(k) =
// (Z(k) - conj Z(-k)) / 2i, each meet a kernel of their own.
//
// A pair of planes takes three passes over its buffer: planes -> lanes -> rows transformed; each pair of
// columns q, -q transformed, multiplied and transformed back while it is in the first-level cache; rows back
// -> lanes -> planes. Rows of zeros are neither stored nor transformed. Kernels are transformed once while
// they stay the same (Prepared); when both gradients are wanted they share the transform of dy, and dweight
// is transformed back once for all samples. Cost of a pair of planes: about (H + Ho + 2 L) transforms of
// length L, against 4 Ho Wo K K multiply-adds. The error of a plane is relative to the largest value in its
// pair of planes, and one NaN spreads over both.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/depthwise_conv2d/cpu_fft.cpp"

#include <algorithm>
#include <vector>

#include "core/parallel.h"
#include "core/prepared.h"
#include "ops/depthwise_conv2d/fft_length.h"
#include "ops/primitives/simd_targets.h"
// Highway compiles the rest of this file once per instruction set.
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/depthwise_conv2d/fft_planes-inl.h"
#include "ops/depthwise_conv2d/fft_spectra-inl.h"

HWY_BEFORE_NAMESPACE();
namespace replk::cpu::HWY_NAMESPACE {
namespace {

// What one call works on: sizes, the division into units, and which planes travel together.
template <class T>
struct Job {
  using Buffer = PlaneBuffer<T>;
  static constexpr std::int64_t kLanes = Buffer::kLanes;

  const DepthwiseConv2dGeometry& g;
  FftShape shape;
  SpectrumLayout<T> layout;
  bool pairs_channels;
  std::int64_t groups;  // of channels: kLanes of them, or twice as many
  std::int64_t pairs;   // of samples
  Tensor zeros;

  explicit Job(const DepthwiseConv2dGeometry& geometry)
      : g(geometry),
        shape(g),
        layout(g, shape),
        pairs_channels(g.batch == 1),
        groups((g.channels + width() - 1) / width()),
        pairs((g.batch + 1) / 2),
        zeros(Tensor::zeros({std::max(g.input.h * g.input.w, g.output.h * g.output.w)}, dtype_of<T>())) {}

  std::int64_t width() const { return pairs_channels ? 2 * kLanes : kLanes; }

  // The planes of pair `pair` of group `group`; `none` where there is none.
  template <class P>
  PlanePair<P> planes(P* data, Extent2d size, std::int64_t group, std::int64_t pair, P* none) const {
    PlanePair<P> result;
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      const std::int64_t a = group * width() + lane, b = pairs_channels ? a + kLanes : a;
      const std::int64_t n = 2 * pair, m = pairs_channels ? n : n + 1;
      result.a[lane] = a < g.channels ? data + (a * g.batch + n) * size.h * size.w : none;
      result.b[lane] = b < g.channels && m < g.batch ? data + (b * g.batch + m) * size.h * size.w : none;
    }
    return result;
  }
  PlanePair<const T> from(const T* data, Extent2d size, std::int64_t group, std::int64_t pair) const {
    return planes<const T>(data, size, group, pair, zeros.template data<T>());
  }
  PlanePair<T> to(T* data, Extent2d size, std::int64_t group, std::int64_t pair) const {
    return planes<T>(data, size, group, pair, nullptr);
  }
};

// The kernels' spectra, scaled by 1 / (Lh Lw): from the last call if the weight is still the same.
template <class T>
Tensor kernel_spectra(const Job<T>& job, const Tensor& weight) {
  const T scale = T(1) / static_cast<T>(job.shape.h.value * job.shape.w.value);
  const auto make = [&] { return job.layout.from_kernels(weight.data<T>(), scale); };
  if (!job.g.prepared) return make();
  return job.g.prepared->get(
      weight, {HWY_TARGET, job.shape.h.value, job.shape.w.value, job.g.padding.h, job.g.padding.w}, make);
}

// z(k) and z(-k) of the pair of columns at hand times the kernels' spectra (their conjugates for the input
// gradient), in place. `spectra` is the group's column q.
template <bool kConjugated, class T>
void multiply(const Job<T>& job, PlaneBuffer<T>& buffer, std::int64_t q, const T* spectra) {
  using Buffer = PlaneBuffer<T>;
  using C = typename Buffer::C;
  const auto spectrum = [](const T* from, std::int64_t i) HWY_ATTR {
    const C g = Buffer::load_complex(from + i * 2 * Buffer::kLanes);
    return kConjugated ? conj(g) : g;
  };
  T* z = buffer.column(0);
  if (!job.pairs_channels) {
    buffer.for_pairs(q, [&](std::int64_t i, std::int64_t k, std::int64_t minus_k) HWY_ATTR {
      const C g = spectrum(spectra, i);
      const C at_k = times(Buffer::load_complex(z + k), g);
      if (minus_k != k) Buffer::store_complex(times(Buffer::load_complex(z + minus_k), conj(g)), z + minus_k);
      Buffer::store_complex(at_k, z + k);
    });
    return;
  }
  const T* second = spectra + job.layout.block_size();
  const typename Buffer::D d;
  buffer.for_pairs(q, [&](std::int64_t i, std::int64_t k, std::int64_t minus_k) HWY_ATTR {
    const C at_k = Buffer::load_complex(z + k), opposite = conj(Buffer::load_complex(z + minus_k));
    const C a = times(plus(at_k, opposite), scaled(d, T(0.5), spectrum(spectra, i)));
    const C ib = times(minus(at_k, opposite), scaled(d, T(0.5), spectrum(second, i)));
    Buffer::store_complex(conj(minus(a, ib)), z + minus_k);
    Buffer::store_complex(plus(a, ib), z + k);
  });
}

// sum += 2 X conj(dY), the spectrum of a real plane, for the pair of columns q of both buffers; with pairs of
// channels for the two blocks of the group.
template <class T>
void accumulate_product(const Job<T>& job, PlaneBuffer<T>& x, PlaneBuffer<T>& dy, std::int64_t q, bool first,
                        T* sum) {
  using Buffer = PlaneBuffer<T>;
  using C = typename Buffer::C;
  const typename Buffer::D d;
  const std::int64_t h = job.shape.h.value;
  const bool alone = x.alone(q);
  const auto add = [&](T* column, std::int64_t i, C value) HWY_ATTR {
    const auto store = [&](T* to, C v) HWY_ATTR {
      Buffer::store_complex(first ? v : plus(Buffer::load_complex(to), v), to);
    };
    store(column + i * 2 * Buffer::kLanes, value);
    // A column that is its own partner holds -k too.
    if (alone && i && h - i != i) store(column + (h - i) * 2 * Buffer::kLanes, conj(value));
  };
  const T *zx = x.column(0), *zd = dy.column(0);
  T* second = sum + job.layout.block_size();
  x.for_pairs(q, [&](std::int64_t i, std::int64_t k, std::int64_t minus_k) HWY_ATTR {
    const C xk = Buffer::load_complex(zx + k), dk = Buffer::load_complex(zd + k);
    const C xo = conj(Buffer::load_complex(zx + minus_k)), dno = Buffer::load_complex(zd + minus_k);
    if (!job.pairs_channels) {
      add(sum, i, plus(times(xk, conj(dk)), times(xo, dno)));
      return;
    }
    const C dkc = conj(dk);
    add(sum, i, times(scaled(d, T(0.5), plus(xk, xo)), plus(dkc, dno)));
    add(second, i, times(scaled(d, T(0.5), minus(xk, xo)), minus(dkc, dno)));
  });
}

// Forward, or the input gradient alone.
template <bool kConjugated, class T>
void convolve(const Job<T>& job, const T* from, const T* spectra, T* to, bool accumulate) {
  const Extent2d in = kConjugated ? job.g.output : job.g.input,
                 out = kConjugated ? job.g.input : job.g.output;
  parallel_for(job.groups * job.pairs, 1, [&](std::int64_t begin, std::int64_t end) {
    PlaneBuffer<T> buffer(job.shape);
    const auto in_corner = buffer.corner(in), out_corner = buffer.corner(out);
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t group = task / job.pairs, pair = task % job.pairs;
      const T* block = spectra + group * (job.pairs_channels ? 2 : 1) * job.layout.block_size();
      buffer.load(job.from(from, in, group, pair), in_corner);
      for (std::int64_t q = 0; q < job.shape.columns; ++q) {
        const T* spectrum = block + q * job.layout.column_size();
        if (!job.pairs_channels) {
          buffer.multiply_columns(q, in_corner, out_corner, spectrum, kConjugated);
          continue;
        }
        buffer.load_columns(q, in_corner);
        multiply<kConjugated>(job, buffer, q, spectrum);
        buffer.store_columns(q, out_corner);
      }
      buffer.store(job.to(to, out, group, pair), out_corner, accumulate);
    }
  });
}

// The weight gradient, and the input gradient with it when `dx` is not null.
template <class T>
void backward(const Job<T>& job, const T* x, const T* dy, const T* spectra, T* dx, bool accumulate_dx,
              T* dweight, bool accumulate_dweight) {
  // Parts of the samples that are summed on their own where the channels alone would leave threads without
  // work; the same for any number of threads.
  constexpr std::int64_t kTasks = 8;
  const DepthwiseConv2dGeometry& g = job.g;
  const std::int64_t parts = std::clamp<std::int64_t>(kTasks / job.groups, 1, job.pairs);
  const std::int64_t all_blocks = job.layout.blocks() * job.layout.block_size();
  const std::int64_t group_size = (job.pairs_channels ? 2 : 1) * job.layout.block_size();
  // Pairs of channels write two blocks a group, and the last group may have only one.
  Tensor sums = Tensor::empty({(parts - 1) * all_blocks + job.groups * group_size}, dtype_of<T>());
  T* const sum = sums.template data<T>();
  parallel_for(job.groups * parts, 1, [&](std::int64_t begin, std::int64_t end) {
    PlaneBuffer<T> x_buffer(job.shape), dy_buffer(job.shape);
    const auto in_corner = x_buffer.corner(g.input), out_corner = x_buffer.corner(g.output);
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t group = task / parts, part = task % parts;
      const std::int64_t first = job.pairs * part / parts, last = job.pairs * (part + 1) / parts;
      T* total = sum + part * all_blocks + group * group_size;
      for (std::int64_t pair = first; pair < last; ++pair) {
        x_buffer.load(job.from(x, g.input, group, pair), in_corner);
        dy_buffer.load(job.from(dy, g.output, group, pair), out_corner);
        for (std::int64_t q = 0; q < job.shape.columns; ++q) {
          const std::int64_t column = q * job.layout.column_size();
          x_buffer.load_columns(q, in_corner);
          dy_buffer.load_columns(q, out_corner);
          accumulate_product(job, x_buffer, dy_buffer, q, pair == first, total + column);
          if (!dx) continue;
          multiply<true>(job, dy_buffer, q, spectra + group * group_size + column);
          dy_buffer.store_columns(q, in_corner);
        }
        if (dx) dy_buffer.store(job.to(dx, g.input, group, pair), in_corner, accumulate_dx);
      }
    }
  });
  const T scale = T(0.5) / static_cast<T>(job.shape.h.value * job.shape.w.value);
  job.layout.to_kernels(sum, parts, scale, dweight, accumulate_dweight);
}

void fft_forward(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& weight, Tensor& y) {
  visit_real("depthwise_conv2d", x.dtype(), [&]<class T>(TypeTag<T>) {
    const Job<T> job(g);
    const Tensor spectra = kernel_spectra(job, weight);
    convolve<false>(job, x.data<T>(), spectra.data<T>(), y.data<T>(), false);
  });
}

void fft_backward(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& weight, const Tensor& dy,
                  const GradTarget* dx, const GradTarget* dweight) {
  visit_real("depthwise_conv2d", dy.dtype(), [&]<class T>(TypeTag<T>) {
    const Job<T> job(g);
    const Tensor spectra = dx ? kernel_spectra(job, weight) : Tensor();
    Tensor to_x = dx ? dx->tensor : Tensor(), to_weight = dweight ? dweight->tensor : Tensor();
    if (!dweight) return convolve<true>(job, dy.data<T>(), spectra.data<T>(), to_x.data<T>(), dx->accumulate);
    backward(job, x.data<T>(), dy.data<T>(), dx ? spectra.data<T>() : nullptr, dx ? to_x.data<T>() : nullptr,
             dx && dx->accumulate, to_weight.data<T>(), dweight->accumulate);
  });
}

}  // namespace
}  // namespace replk::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace replk::cpu {
HWY_EXPORT(fft_forward);
HWY_EXPORT(fft_backward);

bool depthwise_fft_applies(const DepthwiseConv2dGeometry& g) {
  return g.stride == Extent2d(1) && g.dilation == Extent2d(1) &&
         FftShape::points(g.input.h, g.output.h, g.kernel.h, g.padding.h) <= FftLength::kLongest &&
         FftShape::points(g.input.w, g.output.w, g.kernel.w, g.padding.w) <= FftLength::kLongest;
}

void depthwise_conv2d_forward_fft(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& weight,
                                  const Tensor& bias, Tensor& y) {
  HWY_DYNAMIC_DISPATCH(fft_forward)(g, x, weight, y);
  if (!bias.defined()) return;
  visit_real("depthwise_conv2d", y.dtype(), [&]<class T>(TypeTag<T>) {
    const std::int64_t pixels = g.output.h * g.output.w * g.batch;
    const T* offset = bias.data<T>();
    T* to = y.data<T>();
    parallel_for(g.channels, (1 << 15) / std::max<std::int64_t>(pixels, 1) + 1,
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t c = begin; c < end; ++c)
                     for (std::int64_t i = c * pixels; i < (c + 1) * pixels; ++i) to[i] += offset[c];
                 });
  });
}
void depthwise_conv2d_backward_fft(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& weight,
                                   const Tensor& dy, const GradTarget* dx, const GradTarget* dweight) {
  HWY_DYNAMIC_DISPATCH(fft_backward)(g, x, weight, dy, dx, dweight);
}

}  // namespace replk::cpu
#endif  // HWY_ONCE
