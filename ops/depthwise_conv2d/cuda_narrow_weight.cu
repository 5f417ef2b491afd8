// The weight gradient of any kernel on maps up to 14 columns wide and 16 rows high, on the tensor cores.
//
// As in cuda_small_weight.cu, for columns that are d = v - p apart,
// G_d[m, n] = sum over columns j and planes of X[m, j + d] dY[n, j]  is a sum of tensor-core products whose
// depth is pixels of rows. Here m and n are all rows of the map, so all taps (u, v) lie on the diagonals m -
// n = u - p of the 27 matrices G_d. Each of the four warps of a block takes every fourth d, and keeps its G_d
// in registers for all planes.
//
// A lane takes all columns of two planes: product number s takes two columns of dY and those of X that lie d
// further, both of which it has in registers; for an odd d those of dY are taken one column earlier. So no
// product meets columns outside the map, and per 8 planes a lane reads 56 words for about 52 products.
//
// A block takes a channel, or a share of its planes: they come into shared memory as they lie, 16 bytes at a
// time, the next chunk while this one is computed. Each element is read from memory once. Blocks of one
// channel leave partial sums (cuda_weight_parts.h). bf16 and f16 with f32 sums. Source: own.
#include <algorithm>

#include "core/cuda/launch.cuh"
#include "ops/depthwise_conv2d/cuda_small.cuh"
#include "ops/depthwise_conv2d/cuda_weight_parts.h"

namespace replk::cuda {
namespace {

constexpr int kWarps = SmallPlan::kThreads / kWarp;

template <class T>
struct NarrowArgs {
  NarrowWeightPlan plan;
  const T *x, *dy;
  int kernel_h, kernel_w, padding_h, padding_w;
  float* partial;  // [share][channel][tap]
};

// For maps up to kColumns wide. Where all G_d fit in the registers of a warp it takes a quarter of the
// planes, otherwise a quarter of the d and all planes.
template <int kColumns>
struct Narrow {
  static constexpr int kSteps = kColumns / 2;  // two columns each
  static constexpr int kHalves = kColumns > 8 ? 2 : 1, kRows = 8 * kHalves;
  static constexpr int kFarthest = kColumns - 1;
  static constexpr int kOfDistances = kColumns > 8 ? kWarps : 1;              // warps that share the d
  static constexpr int kOfPlanes = kWarps / kOfDistances;                     // warps that share the planes
  static constexpr int kOwn = (2 * kFarthest + kOfDistances) / kOfDistances;  // values of d that a warp takes
  // Number i of them.
  static constexpr int distance(int warp, int i) {
    return warp % kOfDistances + kOfDistances * i - kFarthest;
  }
  static constexpr int kPitch = kRows * kRows + 1;  // of G_d in shared memory, and one for the banks
  static constexpr int kSums = kOfPlanes * (2 * kFarthest + 1) * kPitch;

  using Row = std::uint32_t[kSteps];  // two columns in a word
  using Products = float[kOwn][kHalves][4];
};

// A row, or zeros where width is 0. Without kEven a row may begin at an odd place: then words that hold two
// of its elements are made of two.
template <bool kEven, int kSteps, class T>
__device__ __forceinline__ void load_row(const T* row, int width, std::uint32_t (&two)[kSteps]) {
  const int before = kEven ? 0 : static_cast<int>(reinterpret_cast<std::uintptr_t>(row) / sizeof(T) % 2);
  std::uint32_t words[kSteps + 1] = {};
#pragma unroll
  for (int s = 0; s < kSteps + (kEven ? 0 : 1); ++s)
    if (2 * s - before < width) words[s] = *reinterpret_cast<const std::uint32_t*>(row - before + 2 * s);
#pragma unroll
  for (int s = 0; s < kSteps; ++s) {
    two[s] = words[s];
    if constexpr (!kEven) {
      const std::uint64_t both = words[s] | static_cast<std::uint64_t>(words[s + 1]) << 32;
      two[s] = static_cast<std::uint32_t>(both >> 16 * before);
      if (2 * s + 1 >= width) two[s] = 2 * s < width ? two[s] & 0xffffu : 0;
    }
  }
}

// Adds 8 planes, of which a lane takes two: first + t * apart and the next.
template <int kColumns, bool kEven, int kWarpOf, class T>
__device__ __forceinline__ void add_planes(const NarrowWeightPlan& p, const T* x, const T* dy, int planes,
                                           int first, typename Narrow<kColumns>::Products& sum) {
  using N = Narrow<kColumns>;
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const auto load = [&](const T* of, int half, int rows, typename N::Row& two) {
    const int plane = first + half + t * p.apart, row = 8 * rows + g;
    const int width = plane < planes && row < p.height ? p.width : 0;
    load_row<kEven>(of + (plane * p.height + row) * p.width, width, two);
  };
  typename N::Row x_two[2][2] = {};  // [half of the depth][half of the rows]
#pragma unroll
  for (int half = 0; half < 2; ++half)
#pragma unroll
    for (int rows = 0; rows < N::kHalves; ++rows) load(x, half, rows, x_two[half][rows]);
#pragma unroll
  for (int n = 0; n < N::kHalves; ++n) {
    typename N::Row dy_two[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) load(dy, half, n, dy_two[half]);
#pragma unroll
    for (int s = 0; s <= N::kSteps; ++s) {
      FragmentB even, odd;  // columns 2 s and 2 s + 1, and 2 s - 1 and 2 s
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const std::uint32_t before = s > 0 ? dy_two[half][s - 1] : 0;
        even.x[half] = s < N::kSteps ? dy_two[half][s] : 0;
        odd.x[half] = before >> 16 | even.x[half] << 16;
      }
#pragma unroll
      for (int i = 0; i < N::kOwn; ++i) {
        const int d = N::distance(kWarpOf, i);
        const bool is_odd = (d & 1) != 0;
        const int at = s + (is_odd ? (d - 1) / 2 : d / 2);
        if (d > N::kFarthest || at < 0 || at >= N::kSteps || (!is_odd && s == N::kSteps)) continue;
        const FragmentA a = {{x_two[0][0][at], x_two[0][1][at], x_two[1][0][at], x_two[1][1][at]}};
        multiply(sum[i][n], a, is_odd ? odd : even, T{});
      }
    }
  }
}

// Calls f(warp % count), known when compiled.
template <int count, class F>
__device__ __forceinline__ void with_warp(int warp, const F& f) {
  static_assert(count == 1 || count == 4, "one call for each");
  if (count == 1 || warp == 0) f(std::integral_constant<int, 0>());
  if constexpr (count == 4) {
    if (warp == 1) f(std::integral_constant<int, 1>());
    if (warp == 2) f(std::integral_constant<int, 2>());
    if (warp == 3) f(std::integral_constant<int, 3>());
  }
}

// dweight[u, v] = sum of a diagonal of G_d, in order; `shared` gets all of them.
template <int kColumns, class T>
__device__ void add_diagonals(const NarrowArgs<T>& args, const typename Narrow<kColumns>::Products& sum,
                              int warp, float* shared, float* dweight) {
  using N = Narrow<kColumns>;
  const NarrowWeightPlan& p = args.plan;
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  float* const own = shared + warp / N::kOfDistances * (2 * N::kFarthest + 1) * N::kPitch;
#pragma unroll
  for (int i = 0; i < N::kOwn; ++i) {
    const int d = N::distance(warp, i);
    if (d > N::kFarthest) continue;
#pragma unroll
    for (int n = 0; n < N::kHalves; ++n)
#pragma unroll
      for (int k = 0; k < 2 * N::kHalves; ++k)
        own[(d + N::kFarthest) * N::kPitch + (g + k / 2 * 8) * N::kRows + 8 * n + 2 * t + k % 2] =
            sum[i][n][k];
  }
  __syncthreads();
  for (int tap = threadIdx.x; tap < args.kernel_h * args.kernel_w; tap += SmallPlan::kThreads) {
    const int u = tap / args.kernel_w, v = tap - u * args.kernel_w;
    const int rows = u - args.padding_h, d = v - args.padding_w;
    float total = 0;
    if (d >= -N::kFarthest && d <= N::kFarthest)
#pragma unroll
      for (int w = 0; w < N::kOfPlanes; ++w)
#pragma unroll
        for (int n = 0; n < N::kRows; ++n)
          if (n < p.height && n + rows >= 0 && n + rows < p.height)
            total += shared[(w * (2 * N::kFarthest + 1) + d + N::kFarthest) * N::kPitch +
                            (n + rows) * N::kRows + n];
    dweight[tap] = total;
  }
}

template <int kColumns, bool kEven, class T>
__global__ void __launch_bounds__(SmallPlan::kThreads, 4) weigh_narrow_kernel(const NarrowArgs<T> args) {
  using N = Narrow<kColumns>;
  const NarrowWeightPlan& p = args.plan;
  const int channel = static_cast<int>(blockIdx.x) / p.shares,
            share = static_cast<int>(blockIdx.x) % p.shares;
  const int begin = p.chunks * share / p.shares, end = p.chunks * (share + 1) / p.shares;
  char* const shared = dynamic_shared();
  const PairedChunks<T> chunks(p, channel, begin, end, args.x, args.dy, shared);
  chunks.start(begin);
  const int warp = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / kWarp, 0);
  typename N::Products sum = {};
  for (int chunk = begin; chunk < end; ++chunk) {
    chunks.start(chunk + 1);
    wait_for_copies_but_last();
    __syncthreads();
    const int planes = Chunk(p, channel, chunk).planes;
    with_warp<N::kOfDistances>(warp, [&]<int kWarpOf>(std::integral_constant<int, kWarpOf>) {
      for (int group = 0; group < planes; group += 4 * p.apart)
        for (int first = group + 2 * (warp % N::kOfPlanes); first < group + p.apart;
             first += 2 * N::kOfPlanes)
          add_planes<kColumns, kEven, kWarpOf>(p, chunks.x(chunk), chunks.dy(chunk), planes, first, sum);
    });
    __syncthreads();  // before its place is taken by another
  }
  const std::int64_t taps = static_cast<std::int64_t>(args.kernel_h) * args.kernel_w;
  add_diagonals<kColumns>(args, sum, warp, reinterpret_cast<float*>(shared),
                          args.partial + (static_cast<std::int64_t>(share) * p.channels + channel) * taps);
}

template <class T>
void run(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& dy, GradTarget dweight) {
  const NarrowWeightPlan plan(g);
  WeightParts parts(plan.shares, dweight);
  const NarrowArgs<T> args{plan,
                           x.data<T>(),
                           dy.data<T>(),
                           static_cast<int>(g.kernel.h),
                           static_cast<int>(g.kernel.w),
                           static_cast<int>(g.padding.h),
                           static_cast<int>(g.padding.w),
                           parts.data()};
  const auto launch_kernel = [&](auto kernel, int sums) {
    const int bytes = std::max(plan.chunks_bytes, sums * 4);
    check_call(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
               "cudaFuncSetAttribute");
    launch("depthwise_conv2d.backward_weight",
           {plan.blocks(), SmallPlan::kThreads, static_cast<std::size_t>(bytes)}, kernel, args);
  };
  if (plan.fits_in_8())
    launch_kernel(weigh_narrow_kernel<8, false, T>, Narrow<8>::kSums);
  else if (plan.width % 2 == 0)
    launch_kernel(weigh_narrow_kernel<14, true, T>, Narrow<14>::kSums);
  else
    launch_kernel(weigh_narrow_kernel<14, false, T>, Narrow<14>::kSums);
  parts.add();
}

}  // namespace

void weigh_narrow(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& dy, GradTarget dweight) {
  if (x.dtype() == DType::bf16)
    run<bf16>(g, x, dy, dweight);
  else
    run<f16>(g, x, dy, dweight);
}

}  // namespace replk::cuda
