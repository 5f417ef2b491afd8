// Kernels to spectra, and the weight gradient back. A block takes a channel: step 1 a thread per column (per
// row on the way back), step 2 the other way round, with the plane in shared memory between them.
#include "ops/depthwise_conv2d/cuda_fft_spectra.h"

#include "core/prepared.h"
#include "ops/depthwise_conv2d/cuda_fft_lines.cuh"
#include "ops/depthwise_conv2d/cuda_types.h"

namespace replk::cuda {
namespace {

template <int L>
struct SpectrumBlock {
  static constexpr int kThreads = (L + 31) / 32 * 32, kPitch = L | 1;
  static constexpr int kBytes = L * kPitch * static_cast<int>(sizeof(Complex));
};

// Which tap lies at place i of a line: i = p - u (mod L) for spectra of kernels, i = u - p for gradients.
// Not one below the size of the kernel where there is none.
__device__ inline int tap_before(int i, int padding, int length) {
  return padding >= i ? padding - i : padding - i + length;
}
__device__ inline int tap_behind(int i, int padding, int length) {
  return i + padding < length ? i + padding : i + padding - length;
}

template <class T>
struct SpectraArgs {
  int kernel_h, kernel_w, padding_h, padding_w;
  const T* weight;
  Complex* spectra;
};

template <int L, class T>
__global__ void __launch_bounds__(SpectrumBlock<L>::kThreads) spectra_of_weights(const SpectraArgs<T> args) {
  constexpr int kPitch = SpectrumBlock<L>::kPitch;
  const int t = static_cast<int>(threadIdx.x);
  Complex* const shared = reinterpret_cast<Complex*>(dynamic_shared());
  Complex z[L];
  const int v = tap_before(t, args.padding_w, L);
#pragma unroll 1
  for (int step = 0; step < 2; ++step) {
    if (step) __syncthreads();
    if (t >= L) continue;
    if (step == 0) {
      const T* weight =
          args.weight + static_cast<std::int64_t>(blockIdx.x) * args.kernel_h * args.kernel_w + v;
#pragma unroll
      for (int i = 0; i < L; ++i) {
        const int u = tap_before(i, args.padding_h, L);
        z[i] = {u < args.kernel_h && v < args.kernel_w ? widen(weight[u * args.kernel_w]) : 0, 0};
      }
    } else {
      load_row(z, shared + t * kPitch, L);
    }
    fft<L>(z);
    if (step == 0) {
      write_column(z, shared + t, kPitch);
    } else {
      Complex* const to = args.spectra + static_cast<std::int64_t>(blockIdx.x) * (L * L) + t;
      constexpr float kScale = 1.0f / (L * L);
#pragma unroll
      for (int j = 0; j < L; ++j) to[j * L] = {kScale * z[j].re, kScale * z[j].im};
    }
  }
}

struct WeightsArgs {
  int kernel_h, kernel_w, padding_h, padding_w;
  int parts, channels;
  const Complex* sums;
  Target<float> dweight;
};

template <int L>
__global__ void __launch_bounds__(SpectrumBlock<L>::kThreads) weights_of_sums(const WeightsArgs args) {
  constexpr int kPitch = SpectrumBlock<L>::kPitch;
  const int t = static_cast<int>(threadIdx.x);
  Complex* const shared = reinterpret_cast<Complex*>(dynamic_shared());
  Complex z[L];
  const int v = tap_behind(t, args.padding_w, L);
#pragma unroll 1
  for (int step = 0; step < 2; ++step) {
    if (step) __syncthreads();
    if (t >= L || (step && v >= args.kernel_w)) continue;
    if (step == 0) {
#pragma unroll
      for (int j = 0; j < L; ++j) z[j] = {0, 0};
      for (int part = 0; part < args.parts; ++part) {
        const Complex* __restrict__ sum =
            args.sums + (static_cast<std::int64_t>(part) * args.channels + blockIdx.x) * (L * L) + t;
#pragma unroll
        for (int j = 0; j < L; ++j)
          z[j] = z[j] + Complex{sum[j * L].im, sum[j * L].re};  // exchanged, for the inverse
      }
    } else {
      read_column(z, shared + t, kPitch);
    }
    fft<L>(z);
    if (step == 0) {
      store_row(z, shared + t * kPitch, L);
    } else {
      const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * args.kernel_h * args.kernel_w + v;
      constexpr float kScale = 1.0f / (L * L);
#pragma unroll
      for (int i = 0; i < L; ++i)
        if (const int u = tap_behind(i, args.padding_h, L); u < args.kernel_h)
          args.dweight.put(first + u * args.kernel_w, kScale * z[i].im);
    }
  }
}

Tensor make_spectra(const FftPlan& p, const Tensor& weight) {
  Tensor spectra =
      Tensor::empty({std::int64_t{p.channels} * p.length * p.length * 2}, DType::f32, Device::cuda());
  with_f32_or_bf16(weight.dtype(), [&]<class T>(TypeTag<T>) {
    const SpectraArgs<T> args{p.kernel_h,       p.kernel_w,
                              p.padding_h,      p.padding_w,
                              weight.data<T>(), reinterpret_cast<Complex*>(spectra.data<float>())};
    with_fft(p, [&]<int L>(std::integral_constant<int, L>, auto) {
      using Block = SpectrumBlock<L>;
      launch_fft("depthwise_conv2d", spectra_of_weights<L, T>, p.channels, Block::kThreads, Block::kBytes,
                 args);
    });
  });
  return spectra;
}

}  // namespace

Tensor kernel_spectra(const DepthwiseConv2dGeometry& g, const FftPlan& plan, const Tensor& weight) {
  const auto make = [&] { return make_spectra(plan, weight); };
  if (!g.prepared) return make();
  constexpr std::int64_t kOnGpu = -1;  // where the CPU's kernel tells its instruction set
  return g.prepared->get(weight, {kOnGpu, plan.length, plan.length, plan.padding_h, plan.padding_w}, make);
}

void weights_of_spectra(const FftPlan& plan, int parts, const Tensor& sums, GradTarget dweight) {
  const WeightsArgs args{plan.kernel_h,
                         plan.kernel_w,
                         plan.padding_h,
                         plan.padding_w,
                         parts,
                         plan.channels,
                         reinterpret_cast<const Complex*>(sums.data<float>()),
                         {dweight.tensor.data<float>(), dweight.accumulate}};
  with_fft(plan, [&]<int L>(std::integral_constant<int, L>, auto) {
    using Block = SpectrumBlock<L>;
    launch_fft("depthwise_conv2d.backward_weight", weights_of_sums<L>, plan.channels, Block::kThreads,
               Block::kBytes, args);
  });
}

}  // namespace replk::cuda
