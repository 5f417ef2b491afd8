// Forward and input gradient by way of transforms that live in shared memory.
//
// Two samples of a channel travel as real and imaginary part of one complex plane, which convolution with a
// real kernel keeps apart. A block takes a few such planes through four transforms; for each a thread
// holds a whole line of L complex numbers in its registers (cuda_fft.cuh):
//
//   0. a thread per column: from memory, transformed, to shared memory;
//   1. a thread per row: from shared memory, transformed;
//   2. the same row: times the spectrum of the kernel, transformed back, to shared memory;
//   3. a thread per column: from shared memory, transformed back, to memory.
//
// Rows of zeros are thus never there, and neighbouring threads read and write neighbouring addresses. Of
// memory every element of x is read once and every element of y written once, and the spectrum, L x L
// complex numbers a channel, is read from a cache once a pair. Per pair of 56x56 with L = 72: 256 transforms
// of 1,156 additions and multiplications, and 130 KB to and from shared memory.
#include "ops/depthwise_conv2d/cuda_fft_lines.cuh"
#include "ops/depthwise_conv2d/cuda_fft_spectra.h"
#include "ops/depthwise_conv2d/cuda_types.h"

namespace replk::cuda {
namespace {

template <class T>
struct ConvolveArgs {
  FftSizes sizes;
  int batch, pairs, all_pairs;
  float sign;  // of the imaginary parts of the spectra: -1 for the input gradient
  const T* in;
  const Complex* spectra;  // [channel][column][row]
  const float* bias;       // or none
  Target<T> out;
};

// z times a row of the spectrum, for the transform back.
template <int L>
__device__ __forceinline__ void multiply(Complex (&z)[L], const Complex* __restrict__ spectrum, float sign) {
#pragma unroll
  for (int j = 0; j < L; ++j) {
    const Complex g = spectrum[j * L];
    z[j] = exchanged_product(z[j], {g.re, sign * g.im});
  }
}

// Two columns of results: the first plane's are the imaginary parts.
template <int L, class T>
__device__ __forceinline__ void store_column(Complex (&z)[L], const ConvolveArgs<T>& args, FftSizes s,
                                             int column, int channel, PlanePair pair) {
  T* to = args.out.data + pair.plane * (s.out_h * s.out_w) + column;
  if (args.bias) {
    const float offset = args.bias[channel];
#pragma unroll
    for (int i = 0; i < L; ++i) z[i] = z[i] + Complex{offset, offset};
  }
  if (args.out.accumulate) {
    const T* before = to;
#pragma unroll
    for (int i = 0; i < L; ++i)
      if (i < s.out_h) z[i].im += widen(*before), before += s.out_w;
#pragma unroll
    for (int i = 0; i < L; ++i)
      if (i < s.out_h && !pair.alone) z[i].re += widen(*before), before += s.out_w;
  }
#pragma unroll
  for (int i = 0; i < L; ++i)
    if (i < s.out_h) *to = narrow<T>(z[i].im), to += s.out_w;
  if (pair.alone) return;
#pragma unroll
  for (int i = 0; i < L; ++i)
    if (i < s.out_h) *to = narrow<T>(z[i].re), to += s.out_w;
}

template <int L, int kSide, class T>
__global__ void __launch_bounds__(ConvolveBlock<L>::kThreads, ConvolveBlock<L>::kBlocks)
    convolve(const ConvolveArgs<T> args) {
  constexpr int kPairs = ConvolveBlock<L>::kPairs, kPitch = kFftPitch<L, kSide>;
  // One transform's instructions for all steps where four would not fit in the cache of instructions.
  constexpr int kUnrolled = kSide || L <= 42 ? 4 : 1;
  const FftSizes s = kSide ? FftSizes{kSide, kSide, kSide, kSide} : args.sizes;
  const int t = static_cast<int>(threadIdx.x), first = static_cast<int>(blockIdx.x) * kPairs;
  const int slots = min(kPairs, args.all_pairs - first);
  Complex* const shared = reinterpret_cast<Complex*>(dynamic_shared());
  Complex z[L];

#pragma unroll kUnrolled
  for (int step = 0; step < 4; ++step) {
    if (step % 2) __syncthreads();
    const bool columns = step == 0 || step == 3;
    const int slot = step == 0 ? t / s.in_w : step == 3 ? t / s.out_w : t / L;
    if (slot >= slots) continue;
    const int channel = (first + slot) / args.pairs;
    const PlanePair pair(channel, (first + slot) % args.pairs, args.batch);
    const int column = step == 0 ? t % s.in_w : t % s.out_w;
    Complex* const line = shared + (columns ? slot * L * kPitch + column : t * kPitch);
    if (step == 0) {
      load_column(z, args.in, s.in_h, s.in_w, column, pair);
    } else if (step == 1) {
      load_row(z, line, s.in_w);
    } else if (step == 2) {
      multiply(z, args.spectra + static_cast<std::int64_t>(channel) * (L * L) + t % L, args.sign);
    } else {
      read_column(z, line, kPitch);
    }
    fft<L>(z);
    if (step == 0) {
      write_column(z, line, kPitch);
    } else if (step == 2) {
      store_row(z, line, s.out_w);
    } else if (step == 3) {
      store_column(z, args, s, column, channel, pair);
    }
  }
}

template <class T>
void run(const char* name, const DepthwiseConv2dGeometry& g, bool turned, const Tensor& in,
         const Tensor& weight, const Tensor& bias, GradTarget out) {
  const FftPlan p(g);
  const Tensor spectra = kernel_spectra(g, p, weight);
  const FftSizes s = turned ? FftSizes{p.sizes.out_h, p.sizes.out_w, p.sizes.in_h, p.sizes.in_w} : p.sizes;
  const ConvolveArgs<T> args{s,
                             p.batch,
                             p.pairs,
                             p.channels * p.pairs,
                             turned ? -1.0f : 1.0f,
                             in.data<T>(),
                             reinterpret_cast<const Complex*>(spectra.data<float>()),
                             bias.defined() ? bias.data<float>() : nullptr,
                             {out.tensor.data<T>(), out.accumulate}};
  with_fft(p, [&]<int L, int kSide>(std::integral_constant<int, L>, std::integral_constant<int, kSide>) {
    using Block = ConvolveBlock<L>;
    launch_fft(name, convolve<L, kSide, T>, ceil_div(args.all_pairs, Block::kPairs), Block::kThreads,
               Block::kPairs * L * kFftPitch<L, kSide> * int{sizeof(Complex)}, args);
  });
}

}  // namespace

void depthwise_conv2d_forward_fft(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& weight,
                                  const Tensor& bias, Tensor& y) {
  with_f32_or_bf16(x.dtype(), [&]<class T>(TypeTag<T>) {
    run<T>("depthwise_conv2d", g, false, x, weight, bias, {y, false});
  });
}

void depthwise_conv2d_backward_input_fft(const DepthwiseConv2dGeometry& g, const Tensor& weight,
                                         const Tensor& dy, GradTarget dx) {
  with_f32_or_bf16(dy.dtype(), [&]<class T>(TypeTag<T>) {
    run<T>("depthwise_conv2d.backward_input", g, true, dy, weight, {}, dx);
  });
}

}  // namespace replk::cuda
