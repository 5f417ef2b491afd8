// Forward and input gradient on the tensor cores: depth-wise convolution as products with Toeplitz matrices.
//
// For one channel and one kernel row u,  Y[h, :] += X[h + u - p, :] T_u,  where T_u[i, j] = weight[u, i - j +
// p] is the same for every row h of every image. So 16 rows (of up to 16 images at the same height) are the A
// of a tensor-core product, T_u its B, and kernel rows that fall outside the image are left out.
//
// A block takes some channels and up to 16 images: it brings their planes (or a part of wide and high ones)
// into shared memory once. A warp takes kTiles tiles of 16 output rows, kColumns * 8 columns wide, in
// registers. Per kernel row and 16 input columns it reads kTiles pieces of A; B is not stored anywhere: T_u
// depends on i - j alone, so a thread reads its elements from the row of the kernel, which lies in shared
// memory between zeros. Pieces of T_u that are zero are left out. Each element of x is read from memory once,
// or once per part whose margin holds it.
//
// bf16 and f16 with f32 sums; f32 as three tf32 products (cuda_mma.cuh). Source: own.
#include "core/cuda/launch.cuh"
#include "ops/depthwise_conv2d/cuda_mma.cuh"
#include "ops/depthwise_conv2d/cuda_planes.cuh"
#include "ops/depthwise_conv2d/cuda_small_plan.h"
#include "ops/depthwise_conv2d/cuda_whole_maps.h"

namespace replk::cuda {
namespace {

// The rows of a kernel between zeros, in shared memory: two copies of each. For 16-bit types a thread reads
// pairs of elements at odd places too, so the second copy is one element further; for f32 they are the
// halves.
template <class T>
struct KernelRows {
  static constexpr bool kSplit = sizeof(T) == 4;
  using Word = std::conditional_t<kSplit, std::uint32_t, std::uint16_t>;
  Word* rows;
  int length;  // of one copy

  // `weight` is in shared memory already: its elements are read in no good order for anything slower.
  __device__ void fill(const T* weight, const CorrelationPlan& p) {
    const auto element = [&](int u, int v) {
      if (v < 0 || v >= p.kernel_w) return T{};
      return p.turned ? weight[(p.kernel_h - 1 - u) * p.kernel_w + p.kernel_w - 1 - v]
                      : weight[u * p.kernel_w + v];
    };
    const QuickDivision row_of(length);
    for (int i = threadIdx.x; i < p.kernel_h * length; i += blockDim.x) {
      const int u = static_cast<int>(row_of(i)), at = i - u * length, v = at - p.zeros;
      Word* row = rows + u * 2 * length;
      if constexpr (kSplit) {
        const Split s = split(element(u, v));
        row[at] = s.high, row[length + at] = s.low;
      } else {
        row[at] = element(u, v).bits;
        row[length + at] = element(u, v + 1).bits;
      }
    }
  }

  // Where a thread's part of B begins whose elements are those from place `at` of a row on.
  __device__ const Word* thread_row(int at) const {
    if constexpr (kSplit)
      return rows + at;
    else
      return at & 1 ? rows + length + at - 1 : rows + at;
  }

  // B for column tiles n = 0 ... kColumns - 1, of which tile kColumns - 1 begins at `row`.
  template <int kColumns>
  __device__ void fragments(const Word* row, typename Mma<T>::B (&b)[kColumns]) const {
    if constexpr (kSplit) {
#pragma unroll
      for (int n = 0; n < kColumns; ++n)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          b[n].high.x[half] = row[8 * (kColumns - 1 - n) + 4 * half];
          b[n].low.x[half] = row[length + 8 * (kColumns - 1 - n) + 4 * half];
        }
    } else {
      std::uint32_t pairs[kColumns + 1];  // the second half of a tile is the first of the one before
#pragma unroll
      for (int j = 0; j <= kColumns; ++j) pairs[j] = *reinterpret_cast<const std::uint32_t*>(row + 8 * j);
#pragma unroll
      for (int n = 0; n < kColumns; ++n) b[n] = {{pairs[kColumns - 1 - n], pairs[kColumns - n]}};
    }
  }
};

template <class T>
struct CorrelationArgs {
  CorrelationPlan plan;
  const T *x, *weight;
  const float* bias;  // or none
  Target<T> y;
};

// Where a block stands: channels, images and the part of the map.
struct Place {
  int channel, channels, image, images, row, column;
  __device__ explicit Place(const CorrelationPlan& p) {
    int i = static_cast<int>(blockIdx.x);
    column = i % p.column_parts * p.part_columns, i /= p.column_parts;
    row = i % p.row_parts * p.part_rows, i /= p.row_parts;
    image = i % p.image_groups * p.region.images, i /= p.image_groups;
    channel = i * p.channels_at_once;
    channels = min(p.channels_at_once, p.channels - channel);
    images = min(p.region.images, p.batch - image);
  }
};

// Where the outputs of a tile go: kVector elements at a time from the lines that a warp has staged.
template <int kVector, class T>
__device__ void copy_out(const CorrelationArgs<T>& args, const Place& place, int channel, int h,
                         const T* staged, int pitch) {
  const CorrelationPlan& p = args.plan;
  const int columns = min(p.part_columns, p.out_w - place.column), per_line = columns / kVector;
  const int last_row = min(place.row + p.part_rows, p.out_h);
  const QuickDivision line_of(per_line);
#pragma unroll 4
  for (int i = threadIdx.x % kWarp; i < 16 * per_line; i += kWarp) {
    const int m = static_cast<int>(line_of(i)), v = (i - m * per_line) * kVector;
    const int image = m & (p.region.images - 1), row = h + (m >> p.region.image_bits);
    if (image >= place.images || row >= last_row) continue;
    const std::int64_t line =
        ((static_cast<std::int64_t>(channel) * p.batch + place.image + image) * p.out_h + row) * p.out_w;
    struct alignas(kVector * sizeof(T)) Vector {
      T x[kVector];
    };
    Vector values = *reinterpret_cast<const Vector*>(staged + m * pitch + v);
    auto* to = reinterpret_cast<Vector*>(args.y.data + line + place.column + v);
    if (args.y.accumulate) {
      const Vector before = *to;
#pragma unroll
      for (int k = 0; k < kVector; ++k) values.x[k] = narrow<T>(widen(values.x[k]) + widen(before.x[k]));
    }
    *to = values;
  }
}

// The tile of 16 rows from output row h on, by way of the warp's staging lines.
template <int kColumns, class T>
__device__ void store_tile(const CorrelationArgs<T>& args, const Place& place, int channel, int h,
                           const float (&sum)[kColumns][4], T* staged) {
  constexpr int kPitch = 8 * kColumns + 16 / sizeof(T);
  const CorrelationPlan& p = args.plan;
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const float offset = args.bias ? args.bias[channel] : 0;
  struct alignas(2 * sizeof(T)) Pair {
    T x[2];
  };
#pragma unroll
  for (int n = 0; n < kColumns; ++n)
#pragma unroll
    for (int half = 0; half < 2; ++half)
      *reinterpret_cast<Pair*>(staged + (g + 8 * half) * kPitch + 8 * n + 2 * t) = {
          narrow<T>(sum[n][2 * half] + offset), narrow<T>(sum[n][2 * half + 1] + offset)};
  __syncwarp();
  with_vector<T>(p.out_w | place.column | place_of(args.y.data),
                 [&]<int kVector>(std::integral_constant<int, kVector>) {
                   copy_out<kVector>(args, place, channel, h, staged, kPitch);
                 });
  __syncwarp();
}

// kSteps pieces of A side by side hold all input columns (0: as many as there are, for parts of wide maps),
// and column tile n meets a kernel in piece k only within kReach tiles of the diagonal: what is known when it
// is compiled costs no instruction.
template <int kColumns, int kTiles, int kSteps, int kReach, class T>
__global__ void __launch_bounds__(CorrelationPlan::kThreads, 2) correlate(const CorrelationArgs<T> args) {
  constexpr int kDepth = Mma<T>::kDepth;
  const CorrelationPlan& p = args.plan;
  const Place place(p);
  PlaneRegion region = p.region;
  region.row = max(0, place.row - p.padding_h);
  region.column = max(0, place.column - p.padding_w);
  region.rows = max(0, min(p.in_h, place.row + p.part_rows - 1 + p.kernel_h - p.padding_h) - region.row);
  region.columns =
      max(0, min(p.in_w, place.column + 8 * kColumns - 1 + p.kernel_w - p.padding_w) - region.column);

  // Shared memory: planes of all channels, rows of all kernels, then the kernels as they are; the last serve
  // as staging lines of the warps once the rows are made of them.
  const int taps = p.kernel_h * p.kernel_w, plane_bytes = p.region.bytes();
  char* const planes = dynamic_shared();
  KernelRows<T> kernels{
      reinterpret_cast<typename KernelRows<T>::Word*>(planes + p.channels_at_once * plane_bytes),
      p.row_length};
  const int kernel_words = p.kernel_h * 2 * p.row_length;
  T* const raw = reinterpret_cast<T*>(kernels.rows + p.channels_at_once * kernel_words);
  for (int i = threadIdx.x; i < place.channels * taps; i += blockDim.x)
    raw[i] = args.weight[static_cast<std::int64_t>(place.channel) * taps + i];
  for (int c = 0; c < place.channels; ++c) clear_region(p.region, planes + c * plane_bytes);
  __syncthreads();
  const std::int64_t in_plane = static_cast<std::int64_t>(p.in_h) * p.in_w;
  for (int c = 0; c < place.channels; ++c)
    load_region(region,
                args.x + ((place.channel + c) * static_cast<std::int64_t>(p.batch) + place.image) * in_plane,
                in_plane, p.in_w, place.images, planes + c * plane_bytes);
  for (int c = 0; c < place.channels; ++c)
    KernelRows<T>{kernels.rows + c * kernel_words, kernels.length}.fill(raw + c * taps, p);
  __syncthreads();

  // Told from lane 0, so that the compiler knows what is the same for a whole warp.
  const int warp = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / kWarp, 0);
  T* const staged = raw + warp * 16 * (8 * kColumns + 16 / static_cast<int>(sizeof(T)));
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const int tile_rows = 16 >> p.region.image_bits;  // heights in a tile
  const int groups = (min(p.part_rows, p.out_h - place.row) + tile_rows * kTiles - 1) / (tile_rows * kTiles);
  const int shift = region.column - place.column + p.padding_w;  // T[i, j] = kernel[i - j + shift]
  // Where this thread's elements of B begin, for the last column tile (the smallest index).
  const int first = p.zeros + shift - 8 * (kColumns - 1) - g + (KernelRows<T>::kSplit ? t : 2 * t);
  for (int item = warp; item < groups * place.channels; item += blockDim.x / kWarp) {
    const int c = item / groups, h = place.row + item % groups * tile_rows * kTiles;
    const auto* b_thread = kernels.thread_row(first) + c * kernel_words;
    const std::uint32_t a_lane =
        shared_address(planes + c * plane_bytes) + lane % 16 * region.pitch + lane / 16 * 16;
    float sum[kTiles][kColumns][4] = {};
    const int u_begin = max(0, p.padding_h - (h + tile_rows * kTiles - 1));
    const int u_end = min(p.kernel_h, p.in_h + p.padding_h - h);
    const std::uint32_t a_item =
        a_lane + (h - p.padding_h - region.row + region.margin) * region.images * region.pitch;
    const auto piece = [&](int u, int k, auto meets) {
      typename Mma<T>::B b[kColumns];
      kernels.template fragments<kColumns>(b_thread + u * 2 * kernels.length + k * kDepth, b);
#pragma unroll
      for (int i = 0; i < kTiles; ++i) {
        const auto a =
            Mma<T>::prepare(load_matrix(a_item + (u * region.images + i * 16) * region.pitch + k * 32));
#pragma unroll
        for (int n = 0; n < kColumns; ++n)
          if (meets(n)) Mma<T>::run(sum[i][n], a, b[n]);
      }
    };
    for (int u = u_begin; u < u_end; ++u) {
      if constexpr (kSteps == 0) {
        for (int k = 0; k * kDepth < region.columns; ++k) piece(u, k, [](int) { return true; });
      } else {
#pragma unroll
        for (int k = 0; k < kSteps; ++k) {
          constexpr int kPer = kDepth / 8;  // column tiles as wide as a piece
          piece(u, k, [k](int n) { return n >= kPer * k - kReach && n < kPer * (k + 1) + kReach; });
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kTiles; ++i)
      store_tile<kColumns>(args, place, place.channel + c, h + i * tile_rows, sum[i], staged);
  }
}

template <int kColumns, int kTiles, int kSteps, int kReach, class T>
void launch_correlate(const char* name, const CorrelationArgs<T>& args) {
  const auto kernel = correlate<kColumns, kTiles, kSteps, kReach, T>;
  const CorrelationPlan& p = args.plan;
  check_call(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, p.shared_bytes),
             "cudaFuncSetAttribute");
  launch(name, {p.blocks(), p.threads, static_cast<std::size_t>(p.shared_bytes)}, kernel, args);
}

template <class T>
void run(const char* name, const DepthwiseConv2dGeometry& g, bool turned, const Tensor& x,
         const Tensor& weight, const Tensor& bias, GradTarget y) {
  const CorrelationArgs<T> args{CorrelationPlan(g, turned, sizeof(T)),
                                x.data<T>(),
                                weight.data<T>(),
                                bias.defined() ? bias.data<float>() : nullptr,
                                {y.tensor.data<T>(), y.accumulate}};
  const CorrelationPlan& p = args.plan;
  constexpr int kPer = 16 / Mma<T>::kDepth;  // pieces in 16 columns
  constexpr int kAll = 8;
  if (p.part_columns == 8 && p.whole(16)) return launch_correlate<1, 4, kPer, kAll>(name, args);
  if (p.part_columns == 16 && p.whole(16)) return launch_correlate<2, 4, kPer, kAll>(name, args);
  if (p.part_columns == 32 && p.whole(32))
    return p.reach() <= 1 ? launch_correlate<4, 4, 2 * kPer, 1>(name, args)
                          : launch_correlate<4, 4, 2 * kPer, kAll>(name, args);
  if (p.part_columns == 32) return launch_correlate<4, 2, 0, kAll>(name, args);
  if (p.part_columns == 56 && p.whole(64) && p.reach() <= 2)
    return p.reach() <= 1 ? launch_correlate<7, 2, 4 * kPer, 1>(name, args)
                          : launch_correlate<7, 2, 4 * kPer, 2>(name, args);
  launch_correlate<7, 2, 0, kAll>(name, args);
}

void run_any(const char* name, const DepthwiseConv2dGeometry& g, bool turned, const Tensor& x,
             const Tensor& weight, const Tensor& bias, GradTarget y) {
  if (small_applies(g, x, y.tensor)) return correlate_small(name, g, turned, x, weight, bias, y);
  if (whole_maps_apply(g)) return multiply_whole_maps(name, g, turned, x, weight, bias, y);
  switch (x.dtype()) {
    case DType::f32:
      return run<float>(name, g, turned, x, weight, bias, y);
    case DType::bf16:
      return run<bf16>(name, g, turned, x, weight, bias, y);
    default:
      return run<f16>(name, g, turned, x, weight, bias, y);
  }
}

}  // namespace

void depthwise_conv2d_forward_tensor_core(const DepthwiseConv2dGeometry& g, const Tensor& x,
                                          const Tensor& weight, const Tensor& bias, Tensor& y) {
  run_any("depthwise_conv2d", g, false, x, weight, bias, {y, false});
}

void depthwise_conv2d_backward_input_tensor_core(const DepthwiseConv2dGeometry& g, const Tensor& weight,
                                                 const Tensor& dy, GradTarget dx) {
  run_any("depthwise_conv2d.backward_input", g, true, dy, weight, {}, dx);
}

}  // namespace replk::cuda
