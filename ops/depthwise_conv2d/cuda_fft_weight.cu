// The weight gradient by way of transforms: sum over samples of X conj(dY), transformed back once a channel.
//
// With two samples in a complex plane, x = x1 + i x2 and dy = dy1 + i dy2, the real part of what X conj(dY)
// is the transform of is the sum of both samples' correlations: nothing has to be taken apart.
//
// A block takes some pairs of planes of a channel, one after the other. As in cuda_fft.cu a thread transforms
// columns on their way from memory to shared memory, then a row: first that of x, which it leaves in shared
// memory for itself, then that of dy. It adds their product to the sums of its row, L complex numbers. Every
// element of x and dy is read from memory once.
#include "ops/depthwise_conv2d/cuda_fft_lines.cuh"
#include "ops/depthwise_conv2d/cuda_fft_spectra.h"
#include "ops/depthwise_conv2d/cuda_types.h"

namespace replk::cuda {
namespace {

template <class T>
struct ProductArgs {
  FftSizes sizes;
  int channels, batch, pairs, parts;
  const T *x, *dy;
  Complex* sums;  // [part][channel][column][row]
};

// What a slot of a block takes: pairs [begin, end) of a channel.
struct Share {
  int channel, part, begin, end;
  template <class T>
  __device__ Share(int item, const ProductArgs<T>& args)
      : channel(item / args.parts),
        part(item % args.parts),
        begin(static_cast<int>(static_cast<std::int64_t>(args.pairs) * part / args.parts)),
        end(static_cast<int>(static_cast<std::int64_t>(args.pairs) * (part + 1) / args.parts)) {}
  __device__ bool has(int round) const { return begin + round < end; }
};

// sum (+)= x conj(z) for a row: x every `pitch`-th element, in shared memory, and sums every L-th.
template <int L>
__device__ __forceinline__ void add_product(const Complex (&z)[L], const Complex* x_row, int pitch,
                                            Complex* sum, bool first) {
#pragma unroll
  for (int j = 0; j < L; ++j) {
    const Complex x = x_row[j * pitch], before = first ? Complex{0, 0} : sum[j * L];
    sum[j * L] = before + Complex{x.re * z[j].re + x.im * z[j].im, x.im * z[j].re - x.re * z[j].im};
  }
}

template <int L, int kSide, class T>
__global__ void __launch_bounds__(ProductBlock<L>::kThreads, ProductBlock<L>::kBlocks)
    add_products(const ProductArgs<T> args) {
  using Block = ProductBlock<L>;
  constexpr int kPitch = kFftPitch<L, kSide>;
  const FftSizes s = kSide ? FftSizes{kSide, kSide, kSide, kSide} : args.sizes;
  const int t = static_cast<int>(threadIdx.x), first = static_cast<int>(blockIdx.x) * Block::kPairs;
  const int slots = min(Block::kPairs, args.channels * args.parts - first);
  const int rounds = static_cast<int>(ceil_div(args.pairs, args.parts));
  Complex* const shared = reinterpret_cast<Complex*>(dynamic_shared());
  Complex* const x_row = shared + Block::kPairs * L * kPitch + t;  // of this thread alone
  const Share mine(first + t / L, args);
  Complex* const sum =
      args.sums + (static_cast<std::int64_t>(mine.part) * args.channels + mine.channel) * (L * L) + t % L;
  Complex z[L];

  for (int round = 0; round < rounds; ++round) {
#pragma unroll 1
    for (int of_dy = 0; of_dy < 2; ++of_dy) {
      const int height = of_dy ? s.out_h : s.in_h, width = of_dy ? s.out_w : s.in_w;
      const int slot = t / width, column = t % width;
      if (const Share share(first + slot, args); slot < slots && share.has(round)) {
        load_column(z, of_dy ? args.dy : args.x, height, width, column,
                    PlanePair(share.channel, share.begin + round, args.batch));
        fft<L>(z);
        write_column(z, shared + slot * L * kPitch + column, kPitch);
      }
      __syncthreads();
      if (t / L < slots && mine.has(round)) {
        load_row(z, shared + t * kPitch, width);
        fft<L>(z);
        if (of_dy)
          add_product(z, x_row, Block::kThreads, sum, round == 0);
        else
          write_column(z, x_row, Block::kThreads);
      }
      __syncthreads();
    }
  }
}

}  // namespace

void depthwise_conv2d_backward_weight_fft(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& dy,
                                          GradTarget dweight) {
  const FftPlan p(g);
  const int parts = p.parts();
  Tensor sums =
      Tensor::empty({std::int64_t{parts} * p.channels * p.length * p.length * 2}, DType::f32, Device::cuda());
  with_f32_or_bf16(dy.dtype(), [&]<class T>(TypeTag<T>) {
    const ProductArgs<T> args{
        p.sizes, p.channels,  p.batch,      p.pairs,
        parts,   x.data<T>(), dy.data<T>(), reinterpret_cast<Complex*>(sums.data<float>())};
    with_fft(p, [&]<int L, int kSide>(std::integral_constant<int, L>, std::integral_constant<int, kSide>) {
      using Block = ProductBlock<L>;
      const int bytes =
          (Block::kPairs * L * kFftPitch<L, kSide> + L * Block::kThreads) * int{sizeof(Complex)};
      launch_fft("depthwise_conv2d.backward_weight", add_products<L, kSide, T>,
                 ceil_div(std::int64_t{p.channels} * parts, Block::kPairs), Block::kThreads, bytes, args);
    });
  });
  weights_of_spectra(p, parts, sums, dweight);
}

}  // namespace replk::cuda
