// Small kernels (3x3, 5x5, 7x7, stride 1) on maps of 7 x 7, on the tensor cores, forward and input gradient.
//
// As in cuda_small.cu a row of Y is a sum of products of rows of X with band matrices T_u, and all columns of
// a row fit in 8; so a product of depth 16 takes two rows of X, 2 r and 2 r + 1, of 16 planes.
//
// Rows of 7 begin at an even place or at an odd one in turn, and two neighbouring elements can be read at
// a time at even places only. Of a row that begins at an odd place a thread reads columns 2 t - 1 and 2 t,
// and T_u is moved by one column to suit; what does not belong to the row is set to 0. The 16 planes of a
// product are even ones or odd ones: then all their rows 2 r begin alike. They are 8 apart, where lanes meet
// different banks.
//
// A block takes up to 64 planes of a channel, which come into shared memory as they lie, 16 bytes at a time,
// and leave the same way; a warp takes 16 of them, with all of Y in registers. Each element is read from
// memory once and written once. bf16 and f16 with f32 sums. Source: own.
#include "core/cuda/launch.cuh"
#include "ops/depthwise_conv2d/cuda_small.cuh"

namespace replk::cuda {
namespace {

constexpr int kSide = 7, kPixels = kSide * kSide;
constexpr int kPlanes = 64;                             // of a block
constexpr int kSpanBytes = kPlanes * kPixels * 2 + 16;  // which may begin anywhere within 16 bytes

template <class T>
struct SevenArgs {
  int batch, chunks;  // of a channel
  bool turned;        // the kernel, by 180 degrees
  const T *in, *weight;
  const float* bias;  // or none
  Target<T> out;
};

// T_u for rows 2 r of X, which begin at a place that is odd (1) or even (0), and for rows 2 r + 1: a half of
// B each.
template <int K>
struct RowBands {
  std::uint32_t of_row[2][K];

  template <class T>
  __device__ RowBands(const T* weight, bool turned, int odd) {
    const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int row = 0; row < 2; ++row)
#pragma unroll
      for (int u = 0; u < K; ++u) {
        const int in_odd = odd ^ row, out_odd = in_odd ^ ((u - K / 2) & 1);
        std::uint32_t two = 0;
#pragma unroll
        for (int k = 0; k < 2; ++k) {
          const int v = (2 * t + k - in_odd) - (g - out_odd) + K / 2, tap = u * K + v;
          if (v >= 0 && v < K)
            two |= static_cast<std::uint32_t>(weight[turned ? K * K - 1 - tap : tap].bits) << 16 * k;
        }
        of_row[row][u] = two;
      }
  }
  // B for rows 2 r and 2 r + 1 of X and row o of Y. True where one of them meets it.
  __device__ bool find(int r, int o, FragmentB& b) const {
    bool any = false;
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const int u = 2 * r + row - o + K / 2;
      const bool meets = u >= 0 && u < K && 2 * r + row < kSide;
      b.x[row] = meets ? of_row[row][u] : 0;
      any = any || meets;
    }
    return any;
  }
};

template <int K, class T>
__global__ void __launch_bounds__(SmallPlan::kThreads, 8) correlate_seven_kernel(const SevenArgs<T> args) {
  const int channel = static_cast<int>(blockIdx.x) / args.chunks;
  const int image = static_cast<int>(blockIdx.x) % args.chunks * kPlanes;
  const int planes = min(kPlanes, args.batch - image);
  const std::int64_t begin = (static_cast<std::int64_t>(channel) * args.batch + image) * kPixels;
  T* const in = shared_like(dynamic_shared(), args.in + begin);
  T* const out = shared_like(dynamic_shared() + kSpanBytes, args.out.data + begin);
  load_span(in, args.in + begin, planes * kPixels);

  // Warps 0 and 1 take planes of an even number (0 and 2, or 4 and 6, of every 8), 2 and 3 the others.
  const int warp = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / kWarp, 0);
  const int first = warp % 2 * 4 + warp / 2;
  const int odd = static_cast<int>((reinterpret_cast<std::uintptr_t>(in) / sizeof(T) + first) % 2);
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const RowBands<K> bands(args.weight + static_cast<std::int64_t>(channel) * K * K, args.turned, odd);
  const float offset = args.bias ? args.bias[channel] : 0;
  // Of rows 2 r and 2 r + 1, and of the same rows of Y: whether they begin at an odd place, what of two
  // elements belongs to them.
  const int odd_of[2] = {odd, 1 - odd};
  const auto edge_of = [&](int row) { return t == (odd_of[row] ? 0 : 3); };
  const auto mask_of = [&](int row) { return !edge_of(row) ? ~0u : odd_of[row] ? 0xffff0000u : 0xffffu; };
  const std::uint32_t masks[2] = {mask_of(0), mask_of(1)};
  float sum[kSide][4];
#pragma unroll
  for (int i = 0; i < kSide * 4; ++i) sum[i / 4][i % 4] = offset;
  wait_for_copies();
  __syncthreads();

#pragma unroll
  for (int r = 0; r < (kSide + 1) / 2; ++r) {
    FragmentA a = {};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int plane = 8 * g + first + i % 2 * 2, row = i / 2;
      if (2 * r + row >= kSide || plane >= planes) continue;
      const T* const from = in + plane * kPixels + (2 * r + row) * kSide - odd_of[row] + 2 * t;
      a.x[i] = *reinterpret_cast<const std::uint32_t*>(from) & masks[row];
    }
#pragma unroll
    for (int o = 0; o < kSide; ++o)
      if (FragmentB b; bands.find(r, o, b)) multiply(sum[o], a, b, T{});
  }
#pragma unroll
  for (int o = 0; o < kSide; ++o)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int plane = 8 * g + first + half * 2;
      if (plane >= planes) continue;
      T* const to = out + plane * kPixels + o * kSide - odd_of[o % 2] + 2 * t;
      const std::uint32_t two = round_pair(sum[o][2 * half], sum[o][2 * half + 1], T{});
      if (!edge_of(o % 2))
        *reinterpret_cast<std::uint32_t*>(to) = two;
      else if (odd_of[o % 2])
        to[1].bits = static_cast<std::uint16_t>(two >> 16);
      else
        to[0].bits = static_cast<std::uint16_t>(two);
    }
  __syncthreads();
  store_span(args.out, begin, planes * kPixels, out);
}

template <class T>
void run(const char* name, const DepthwiseConv2dGeometry& g, bool turned, const Tensor& in,
         const Tensor& weight, const Tensor& bias, GradTarget out) {
  const int chunks = static_cast<int>(ceil_div(g.batch, kPlanes));
  const SevenArgs<T> args{static_cast<int>(g.batch),
                          chunks,
                          turned,
                          in.data<T>(),
                          weight.data<T>(),
                          bias.defined() ? bias.data<float>() : nullptr,
                          {out.tensor.data<T>(), out.accumulate}};
  with_small_kernel(g, [&]<int K>(std::integral_constant<int, K>) {
    launch(name, {g.channels * chunks, SmallPlan::kThreads, 2 * kSpanBytes}, correlate_seven_kernel<K, T>,
           args);
  });
}

}  // namespace

void correlate_seven(const char* name, const DepthwiseConv2dGeometry& g, bool turned, const Tensor& in,
                     const Tensor& weight, const Tensor& bias, GradTarget out) {
  if (in.dtype() == DType::bf16)
    run<bf16>(name, g, turned, in, weight, bias, out);
  else
    run<f16>(name, g, turned, in, weight, bias, out);
}

}  // namespace replk::cuda
