// Forward and input gradient by way of transforms that live in shared memory.
//
// Two samples of a channel travel as real and imaginary part of one complex plane, which convolution with a
// real kernel keeps apart. A block takes a few such planes through three steps; in each a thread holds a
// whole line of L complex numbers in its registers (cuda_fft.cuh), so that nothing but whole lines goes
// through shared memory, four times in all:
//
//   1. a thread per column: from memory, transformed, to shared memory;
//   2. a thread per row: transformed, times the spectrum of the kernel, transformed back, to shared memory;
//   3. a thread per column: transformed back, to memory.
//
// Rows of zeros are thus never there, and neighbouring threads read and write neighbouring addresses. Of
// memory every element of x is read once and every element of y written once, and the spectrum, L x L
// complex numbers a channel, is read from a cache once a pair. Per pair of 56x56 with L = 72: 256 transforms
// of 1,276 additions and multiplications, and 130 KB to and from shared memory.
#include "core/prepared.h"
#include "ops/depthwise_conv2d/cuda_fft_lines.cuh"
#include "ops/depthwise_conv2d/cuda_fft_spectra.h"

namespace replk::cuda {
namespace {

struct ConvolveArgs {
  FftSizes sizes;
  int batch, pairs, all_pairs;
  float sign;  // of the imaginary parts of the spectra: -1 for the input gradient
  const float* in;
  const Complex* spectra;  // [channel][column][row]
  const float* bias;       // or none
  Target<float> out;
};

// Two columns of results: the first plane's are the imaginary parts.
template <int L>
__device__ __forceinline__ void store_column(Complex (&z)[L], const ConvolveArgs& args, FftSizes s,
                                             int column, int channel, PlanePair pair) {
  float* const first = args.out.data + pair.plane * (s.out_h * s.out_w) + column;
  float* const second = first + s.out_h * s.out_w;
  if (args.bias) {
    const float offset = args.bias[channel];
#pragma unroll
    for (int i = 0; i < L; ++i) z[i] = z[i] + Complex{offset, offset};
  }
  if (args.out.accumulate) {
#pragma unroll
    for (int i = 0; i < L; ++i)
      if (i < s.out_h) z[i] = z[i] + Complex{pair.alone ? 0 : second[i * s.out_w], first[i * s.out_w]};
  }
#pragma unroll
  for (int i = 0; i < L; ++i)
    if (i < s.out_h) first[i * s.out_w] = z[i].im;
  if (pair.alone) return;
#pragma unroll
  for (int i = 0; i < L; ++i)
    if (i < s.out_h) second[i * s.out_w] = z[i].re;
}

template <int L, int kSide>
__global__ void __launch_bounds__(ConvolveBlock<L>::kThreads, ConvolveBlock<L>::kBlocks)
    convolve(const ConvolveArgs args) {
  constexpr int kPairs = ConvolveBlock<L>::kPairs, kPitch = kFftPitch<L, kSide>;
  const FftSizes s = kSide ? FftSizes{kSide, kSide, kSide, kSide} : args.sizes;
  const int t = static_cast<int>(threadIdx.x), first = static_cast<int>(blockIdx.x) * kPairs;
  const int slots = min(kPairs, args.all_pairs - first);
  Complex* const shared = reinterpret_cast<Complex*>(dynamic_shared());
  Complex z[L];

  if (const int slot = t / s.in_w, column = t % s.in_w; slot < slots) {
    const int channel = (first + slot) / args.pairs, pair = (first + slot) % args.pairs;
    load_column(z, args.in, s.in_h, s.in_w, column, PlanePair(channel, pair, args.batch));
    fft<L>(z);
    write_column(z, shared + slot * L * kPitch + column, kPitch);
  }
  __syncthreads();
  if (t / L < slots) {
    const std::int64_t channel = (first + t / L) / args.pairs;
    const Complex* __restrict__ spectrum = args.spectra + channel * (L * L) + t % L;
    Complex* const row = shared + t * kPitch;
    load_row(z, row, s.in_w);
#pragma unroll 1  // one transform's instructions instead of two: the cache of instructions is small
    for (int way = 0; way < 2; ++way) {
      fft<L>(z);
      if (way) break;
#pragma unroll
      for (int j = 0; j < L; ++j) {
        const Complex g = spectrum[j * L];
        z[j] = exchanged_product(z[j], {g.re, args.sign * g.im});
      }
    }
#pragma unroll
    for (int j = 0; j < L; ++j)
      if (j < s.out_w) row[j] = z[j];
  }
  __syncthreads();
  if (const int slot = t / s.out_w, column = t % s.out_w; slot < slots) {
    const int channel = (first + slot) / args.pairs, pair = (first + slot) % args.pairs;
    read_column(z, shared + slot * L * kPitch + column, kPitch);
    fft<L>(z);
    store_column(z, args, s, column, channel, PlanePair(channel, pair, args.batch));
  }
}

void run(const char* name, const DepthwiseConv2dGeometry& g, bool turned, const Tensor& in,
         const Tensor& weight, const Tensor& bias, GradTarget out) {
  const FftPlan p(g);
  const Tensor spectra = kernel_spectra(g, p, weight);
  const FftSizes s = turned ? FftSizes{p.sizes.out_h, p.sizes.out_w, p.sizes.in_h, p.sizes.in_w} : p.sizes;
  const ConvolveArgs args{s,
                          p.batch,
                          p.pairs,
                          p.channels * p.pairs,
                          turned ? -1.0f : 1.0f,
                          in.data<float>(),
                          reinterpret_cast<const Complex*>(spectra.data<float>()),
                          bias.defined() ? bias.data<float>() : nullptr,
                          {out.tensor.data<float>(), out.accumulate}};
  with_fft(p, [&]<int L, int kSide>(std::integral_constant<int, L>, std::integral_constant<int, kSide>) {
    using Block = ConvolveBlock<L>;
    launch_fft(name, convolve<L, kSide>, ceil_div(args.all_pairs, Block::kPairs), Block::kThreads,
               Block::kPairs * L * kFftPitch<L, kSide> * int{sizeof(Complex)}, args);
  });
}

}  // namespace

void depthwise_conv2d_forward_fft(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& weight,
                                  const Tensor& bias, Tensor& y) {
  run("depthwise_conv2d", g, false, x, weight, bias, {y, false});
}

void depthwise_conv2d_backward_input_fft(const DepthwiseConv2dGeometry& g, const Tensor& weight,
                                         const Tensor& dy, GradTarget dx) {
  run("depthwise_conv2d.backward_input", g, true, dy, weight, {}, dx);
}

}  // namespace replk::cuda
