// The weight gradient on the tensor cores: for one channel and one kernel row u,
//
//     G_u = sum over rows h of all images of dY[h, :]^T X[h + u - p, :],     dweight[u, v] = sum of the
//     diagonal
//                                                                            i = j + v - p of G_u[j, i]
//
// A block takes a channel and some of its segments (a few images, or a part of wide and high maps): it brings
// dY and X into shared memory, where row h of image n is line h * images + n. So the rows that kernel row u
// pairs are two ranges of neighbouring lines, `depth` of them a tensor-core product. A warp takes kernel rows
// in turn: it keeps all of G_u that can hold a tap in registers, sums its diagonals and adds them to those of
// the segments before. Blocks of one channel leave partial sums (cuda_weight_parts.h).
//
// dY and X are read from memory once (X again where parts of a map overlap). bf16 and f16 with f32 sums; f32
// as three tf32 products. Source: own.
#include "core/cuda/launch.cuh"
#include "ops/depthwise_conv2d/cuda_mma.cuh"
#include "ops/depthwise_conv2d/cuda_planes.cuh"
#include "ops/depthwise_conv2d/cuda_small_plan.h"
#include "ops/depthwise_conv2d/cuda_weight_parts.h"
#include "ops/depthwise_conv2d/cuda_whole_maps.h"

namespace replk::cuda {
namespace {

// Reads A = dY^T and B = X from lines of shared memory: 16 columns of dY, 8 of X.
template <class T>
struct LineReader {
  std::uint32_t a_lane, b_lane;
  __device__ LineReader(const char* dy, const char* x, int dy_pitch, int x_pitch) {
    const int lane = threadIdx.x % kWarp, block = lane / 8, row = lane % 8;
    a_lane = shared_address(dy) + (row + block / 2 * 8) * dy_pitch + block % 2 * 16;
    b_lane = shared_address(x) + (row + block % 2 * 8) * x_pitch + block / 2 * 16;
  }
  template <int n>
  __device__ void read_a(FragmentA (&a)[n], int line_bytes) const {
#pragma unroll
    for (int i = 0; i < n; ++i) a[i] = load_matrix_transposed(a_lane + line_bytes + i * 32);
  }
  template <int n>
  __device__ void read_b(FragmentB (&b)[n], int line_bytes) const {
#pragma unroll
    for (int i = 0; i < n; i += 2) {  // one load brings two column tiles
      const FragmentA pair = load_matrix_transposed(b_lane + line_bytes + i * 16);
      b[i] = {{pair.x[0], pair.x[1]}};
      if (i + 1 < n) b[i + 1] = {{pair.x[2], pair.x[3]}};
    }
  }
};

template <>
struct LineReader<float> {
  const char *a_lane, *b_lane;
  int dy_pitch, x_pitch;
  __device__ LineReader(const char* dy, const char* x, int dy_pitch_, int x_pitch_)
      : dy_pitch(dy_pitch_), x_pitch(x_pitch_) {
    const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
    a_lane = dy + t * dy_pitch + g * 4;
    b_lane = x + t * x_pitch + g * 4;
  }
  template <int n>
  __device__ void read_a(Mma<float>::A (&a)[n], int line_bytes) const {
#pragma unroll
    for (int i = 0; i < n; ++i) {
      FragmentA raw;
#pragma unroll
      for (int k = 0; k < 4; ++k)
        raw.x[k] = *reinterpret_cast<const std::uint32_t*>(a_lane + line_bytes + k / 2 * 4 * dy_pitch +
                                                           i * 64 + k % 2 * 32);
      a[i] = Mma<float>::prepare(raw);
    }
  }
  template <int n>
  __device__ void read_b(Mma<float>::B (&b)[n], int line_bytes) const {
#pragma unroll
    for (int i = 0; i < n; ++i)
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        const Split s =
            split(*reinterpret_cast<const float*>(b_lane + line_bytes + k * 4 * x_pitch + i * 32));
        b[i].high.x[k] = s.high, b[i].low.x[k] = s.low;
      }
  }
};

template <class T>
struct WeightArgs {
  WeightPlan plan;
  const T *x, *dy;
  float* partial;  // [block of the channel][channel][tap]
};

// Adds the diagonals of G (kRows * 16 x kColumns * 8) to dweight[v], v = i - j + shift: every thread first
// sums what it holds of 8 x 8 blocks on one diagonal of blocks, then each takes taps of its own.
template <int kRows, int kColumns>
__device__ void add_diagonals(float (&sum)[kRows][kColumns][4], float* scratch, int shift, int taps,
                              float* dweight) {
  constexpr int kFirst = 2 * kRows - 1, kDiagonals = kColumns + kFirst;
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int d = 0; d < kDiagonals; ++d) {
    float total[2] = {};
#pragma unroll
    for (int a = 0; a < kRows; ++a)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int b = d - kFirst + 2 * a + half;
        if (b < 0 || b >= kColumns) continue;
        total[0] += sum[a][b][2 * half];
        total[1] += sum[a][b][2 * half + 1];
      }
    scratch[d * 64 + 16 * t + g] = total[0];
    scratch[d * 64 + 16 * t + 8 + g] = total[1];
  }
  __syncwarp();
  for (int v = lane; v < taps; v += kWarp) {
    float total = 0;
    const int offset = v - shift + 8 * kFirst;  // 8 d + i - j within the block
    for (int d = max(0, offset / 8); d < kDiagonals && 8 * d <= offset + 7; ++d) {
      const int q = offset - 8 * d;  // i - j within the block, -7 ... 7
      for (int j = max(0, -q); j <= min(7, 7 - q); ++j) total += scratch[d * 64 + (j + q) * 8 + j];
    }
    dweight[v] += total;
  }
  __syncwarp();
}

// Of G, the tiles within kReach of the diagonal hold taps.
template <int kRows, int kColumns, int kReach, class T>
__global__ void __launch_bounds__(256) weight_gradient(const WeightArgs<T> args) {
  constexpr int kDepth = Mma<T>::kDepth;
  const WeightPlan& p = args.plan;
  const int channel = static_cast<int>(blockIdx.x) / p.parts, part = static_cast<int>(blockIdx.x) % p.parts;
  char* const dy_shared = dynamic_shared();
  char* const x_shared = dy_shared + p.dy.bytes();
  auto* const total = reinterpret_cast<float*>(x_shared + p.x.bytes());
  const int taps = p.kernel_h * p.kernel_w;
  // Told from lane 0, so that the compiler knows it to be the same for a whole warp.
  const int warp = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / kWarp, 0);
  float* const scratch = total + (taps + 3) / 4 * 4 + warp * 64 * (kColumns + 2 * kRows - 1);
  for (int i = threadIdx.x; i < taps; i += blockDim.x) total[i] = 0;
  const std::int64_t dy_plane = static_cast<std::int64_t>(p.out_h) * p.out_w,
                     x_plane = static_cast<std::int64_t>(p.in_h) * p.in_w;
  const int segments = p.segments();
  for (int segment = segments * part / p.parts; segment < segments * (part + 1) / p.parts; ++segment) {
    int i = segment;
    PlaneRegion dy = p.dy, x = p.x;
    dy.column = i % p.column_parts * p.dy.columns, i /= p.column_parts;
    dy.row = i % p.row_parts * p.dy.rows, i /= p.row_parts;
    const int image = i * dy.images, images = min(dy.images, p.batch - image);
    dy.columns = min(dy.columns, p.out_w - dy.column);
    dy.rows = min(dy.rows, p.out_h - dy.row);
    x.column = max(0, dy.column - p.padding_w), x.row = max(0, dy.row - p.padding_h);
    x.columns = max(0, min(p.in_w, dy.column + dy.columns - 1 + p.kernel_w - p.padding_w) - x.column);
    x.rows = max(0, min(p.in_h, dy.row + dy.rows - 1 + p.kernel_h - p.padding_h) - x.row);
    __syncthreads();
    clear_region(p.dy, dy_shared);
    clear_region(p.x, x_shared);
    __syncthreads();
    load_region(dy, args.dy + (static_cast<std::int64_t>(channel) * p.batch + image) * dy_plane, dy_plane,
                p.out_w, images, dy_shared);
    load_region(x, args.x + (static_cast<std::int64_t>(channel) * p.batch + image) * x_plane, x_plane, p.in_w,
                images, x_shared);
    __syncthreads();
    const int shift = x.column - dy.column + p.padding_w;
    const LineReader<T> reader(dy_shared, x_shared, dy.pitch, x.pitch);
    for (int u = warp; u < p.kernel_h; u += blockDim.x / kWarp) {
      const int begin = max(dy.row, x.row + p.padding_h - u);
      const int end = min(dy.row + dy.rows, x.row + x.rows + p.padding_h - u);
      float sum[kRows][kColumns][4] = {};
      int dy_bytes = (begin - dy.row) * dy.images * dy.pitch;
      int x_bytes = (begin + u - p.padding_h - x.row) * x.images * x.pitch;
      for (int line = begin * dy.images; line < end * dy.images; line += kDepth) {
        typename Mma<T>::A a[kRows];
        typename Mma<T>::B b[kColumns];
        reader.read_a(a, dy_bytes);
        reader.read_b(b, x_bytes);
#pragma unroll
        for (int r = 0; r < kRows; ++r)
#pragma unroll
          for (int c = 0; c < kColumns; ++c)
            if (c >= 2 * r - kReach && c <= 2 * r + 1 + kReach) Mma<T>::run(sum[r][c], a[r], b[c]);
        dy_bytes += kDepth * dy.pitch, x_bytes += kDepth * x.pitch;
      }
      if (begin < end) add_diagonals(sum, scratch, shift, p.kernel_w, total + u * p.kernel_w);
    }
  }
  __syncthreads();
  float* const partial = args.partial + (static_cast<std::int64_t>(part) * p.channels + channel) * taps;
  for (int i = threadIdx.x; i < taps; i += blockDim.x) partial[i] = total[i];
}

template <int kRows, int kColumns, int kReach, class T>
void launch_gradient(const WeightArgs<T>& args) {
  const auto kernel = weight_gradient<kRows, kColumns, kReach, T>;
  const WeightPlan& p = args.plan;
  const int bytes = p.shared_bytes(kRows, kColumns);
  check_call(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
             "cudaFuncSetAttribute");
  launch("depthwise_conv2d.backward_weight",
         {static_cast<std::int64_t>(p.channels) * p.parts, p.threads, static_cast<std::size_t>(bytes)},
         kernel, args);
}

template <class T>
void run(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& dy, GradTarget dweight) {
  const WeightPlan plan(g, sizeof(T));
  WeightParts parts(plan.parts, dweight);
  const WeightArgs<T> args{plan, x.data<T>(), dy.data<T>(), parts.data()};
  constexpr int kAll = 16;
  switch (plan.tile_columns) {
    case 1:
      launch_gradient<1, 1, kAll>(args);
      break;
    case 2:
      launch_gradient<1, 2, kAll>(args);
      break;
    case 4:
      launch_gradient<2, 4, kAll>(args);
      break;
    case 7:
      if (plan.tile_rows == 2)
        launch_gradient<2, 7, kAll>(args);
      else if (plan.whole() && plan.reach() <= 1)
        launch_gradient<4, 7, 1>(args);
      else if (plan.whole() && plan.reach() <= 2)
        launch_gradient<4, 7, 2>(args);
      else
        launch_gradient<4, 7, kAll>(args);
      break;
    default:
      launch_gradient<2, 12, kAll>(args);
  }
  parts.add();
}

}  // namespace

void depthwise_conv2d_backward_weight_tensor_core(const DepthwiseConv2dGeometry& g, const Tensor& x,
                                                  const Tensor& dy, GradTarget dweight) {
  if (small_applies(g, x, dy)) return weigh_small(g, x, dy, dweight);
  if (narrow_applies(g, x, dy)) return weigh_narrow(g, x, dy, dweight);
  if (whole_maps_apply_to_weight(g)) return multiply_whole_maps_for_weight(g, x, dy, dweight);
  switch (x.dtype()) {
    case DType::f32:
      return run<float>(g, x, dy, dweight);
    case DType::bf16:
      return run<bf16>(g, x, dy, dweight);
    default:
      return run<f16>(g, x, dy, dweight);
  }
}

}  // namespace replk::cuda
