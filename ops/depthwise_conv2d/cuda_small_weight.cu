// The weight gradient of small kernels (3x3, 5x5, 7x7, stride 1) on the tensor cores.
//
// For one kernel column v,  G_v[m, n] = sum over columns j and planes of X[h - 4 + m, j + v - p] dY[h + n, j]
// is a tensor-core product of 16 rows of X and 8 of dY, whose depth is pixels of those rows. What belongs to
// tap (u, v) is its diagonal m - n = u + 4 - p, summed over all row tiles h; so a warp keeps the G_v of all
// kernel columns in registers for all planes of its block, and adds up diagonals once, at the end.
//
// The depth of a product need not be neighbours. A lane takes a strip of 14 columns of two planes or strips:
// product number s takes its s-th two columns. So the row of X moved by an even number of columns is in its
// registers already: it is what it has for another s. For an odd v - p it moves dY by one column and X by the
// even number next to it. Per 8 rows of 8 strips a lane reads 54 words (46 for 3x3) for 7 K products.
//
// A block takes a channel, or a share of its planes: they come into shared memory as they lie, 16 bytes at a
// time, the next chunk while this one is computed. Each element is read from memory once. Blocks of one
// channel leave partial sums (cuda_weight_parts.h). bf16 and f16 with f32 sums. Source: own.
#include "core/cuda/launch.cuh"
#include "ops/depthwise_conv2d/cuda_small.cuh"
#include "ops/depthwise_conv2d/cuda_weight_parts.h"

namespace replk::cuda {
namespace {

template <class T>
struct SmallWeightArgs {
  SmallWeightPlan plan;
  const T *x, *dy;
  float* partial;  // [share][channel][tap]
};

constexpr int kSteps = 7;  // times two columns in a strip

// A row of a strip, two columns at a time, and those next to it on either side: columns 2 s and 2 s + 1 are
// two[s + 1].
template <class T>
__device__ __forceinline__ void load_strip(const T* row, int column, int width,
                                           std::uint32_t (&two)[kSteps + 2]) {
#pragma unroll
  for (int s = -1; s <= kSteps; ++s) {
    const int j = column + 2 * s;
    two[s + 1] = 0;
    if (static_cast<unsigned>(j) < static_cast<unsigned>(width))
      two[s + 1] = *reinterpret_cast<const std::uint32_t*>(row + j);
  }
}

// Adds 8 rows of dY, from row h on, of 8 strips (those of group `group` of a chunk).
template <int K, class T>
__device__ __forceinline__ void add_rows(const SmallWeightPlan& p, const QuickDivision& plane_of, const T* x,
                                         const T* dy, int planes, int group, int h, float (&sum)[K][4]) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  std::uint32_t x_two[2][2][kSteps + 2], dy_two[2][kSteps + 2];  // [half of the depth][half of the rows]
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int e = 2 * group + half;
    int plane, strip;
    if (p.strips_of_plane <= 2) {  // planes plane_step apart, which lie in different banks
      strip = p.strips_of_plane == 1 ? 0 : t % 2;
      const int run = p.strips_of_plane == 1 ? t : t / 2, runs = p.strips_of_plane == 1 ? 4 : 2;
      plane = e / p.plane_step * p.plane_step * runs + run * p.plane_step + e % p.plane_step;
    } else {
      const int place = 4 * e + t;
      plane = static_cast<int>(plane_of(place)), strip = place - plane * p.strips_of_plane;
    }
    const int column = strip * 2 * kSteps;
    const auto load_row = [&](const T* planes_of, int row, std::uint32_t(&two)[kSteps + 2]) {
      const bool exists = plane < planes && static_cast<unsigned>(row) < static_cast<unsigned>(p.height);
      load_strip(planes_of + (plane * p.height + row) * p.width, column, exists ? p.width : 0, two);
    };
    load_row(x, h - 4 + g, x_two[half][0]);
    load_row(x, h + 4 + g, x_two[half][1]);
    load_row(dy, h + g, dy_two[half]);
  }
  std::uint32_t odd[2][kSteps + 1];  // columns 2 s - 1 and 2 s of dY
#pragma unroll
  for (int half = 0; half < 2; ++half)
#pragma unroll
    for (int s = 0; s <= kSteps; ++s) odd[half][s] = dy_two[half][s] >> 16 | dy_two[half][s + 1] << 16;
#pragma unroll
  for (int s = 0; s < kSteps; ++s)
#pragma unroll
    for (int v = 0; v < K; ++v) {
      const int d = v - K / 2;
      const int at = s + 1 + (d % 2 == 0 ? d / 2 : d > 0 ? (d - 1) / 2 : (d + 1) / 2);
      const FragmentA a = {{x_two[0][0][at], x_two[0][1][at], x_two[1][0][at], x_two[1][1][at]}};
      FragmentB b;
#pragma unroll
      for (int half = 0; half < 2; ++half)
        b.x[half] = d % 2 == 0 ? dy_two[half][s + 1] : d > 0 ? odd[half][s] : odd[half][s + 1];
      multiply(sum[v], a, b, T{});
    }
}

// dweight[u, v] = sum of the diagonals of the G_v of all warps, in order.
template <int K>
__device__ void add_diagonals(const float (&sum)[K][4], float* shared, int warp, float* dweight) {
  constexpr int kProduct = 16 * 8;
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  float* const own = shared + warp * K * kProduct;
#pragma unroll
  for (int v = 0; v < K; ++v)
#pragma unroll
    for (int i = 0; i < 4; ++i) own[v * kProduct + (g + i / 2 * 8) * 8 + 2 * t + i % 2] = sum[v][i];
  __syncthreads();
  for (int tap = threadIdx.x; tap < K * K; tap += SmallPlan::kThreads) {
    const int u = tap / K, v = tap % K;
    float total = 0;
    for (int w = 0; w < SmallPlan::kThreads / kWarp; ++w)
#pragma unroll
      for (int n = 0; n < 8; ++n) total += shared[(w * K + v) * kProduct + (u + 4 - K / 2 + n) * 8 + n];
    dweight[tap] = total;
  }
}

template <int K, class T>
__global__ void __launch_bounds__(SmallPlan::kThreads) weigh_small_kernel(const SmallWeightArgs<T> args) {
  const SmallWeightPlan& p = args.plan;
  const int channel = static_cast<int>(blockIdx.x) / p.shares,
            share = static_cast<int>(blockIdx.x) % p.shares;
  const int begin = p.chunks * share / p.shares, end = p.chunks * (share + 1) / p.shares;
  char* const shared = dynamic_shared();
  const PairedChunks<T> chunks(p, channel, begin, end, args.x, args.dy, shared);
  chunks.start(begin);
  const int warp = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / kWarp, 0);
  const QuickDivision group_of(p.row_tiles), plane_of(p.strips_of_plane);
  float sum[K][4] = {};
  for (int chunk = begin; chunk < end; ++chunk) {
    chunks.start(chunk + 1);
    wait_for_copies_but_last();
    __syncthreads();
    const int planes = Chunk(p, channel, chunk).planes;
    for (int item = warp; item < p.groups * p.row_tiles; item += SmallPlan::kThreads / kWarp) {
      const int group = static_cast<int>(group_of(item)), h = (item - group * p.row_tiles) * 8;
      add_rows(p, plane_of, chunks.x(chunk), chunks.dy(chunk), planes, group, h, sum);
    }
    __syncthreads();  // before its place is taken by another
  }
  add_diagonals(sum, reinterpret_cast<float*>(shared), warp,
                args.partial + (static_cast<std::int64_t>(share) * p.channels + channel) * (K * K));
}

template <class T>
void run(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& dy, GradTarget dweight) {
  const SmallWeightPlan plan(g);
  WeightParts parts(plan.shares, dweight);
  const SmallWeightArgs<T> args{plan, x.data<T>(), dy.data<T>(), parts.data()};
  const auto launch_kernel = [&](auto kernel) {
    check_call(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, plan.shared_bytes),
               "cudaFuncSetAttribute");
    launch("depthwise_conv2d.backward_weight",
           {plan.blocks(), SmallPlan::kThreads, static_cast<std::size_t>(plan.shared_bytes)}, kernel, args);
  };
  with_small_kernel(g,
                    [&]<int K>(std::integral_constant<int, K>) { launch_kernel(weigh_small_kernel<K, T>); });
  parts.add();
}

}  // namespace

void weigh_small(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& dy, GradTarget dweight) {
  if (g.input == Extent2d(7)) return weigh_narrow(g, x, dy, dweight);
  if (x.dtype() == DType::bf16)
    run<bf16>(g, x, dy, dweight);
  else
    run<f16>(g, x, dy, dweight);
}

}  // namespace replk::cuda
