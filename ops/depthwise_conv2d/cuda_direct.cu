// Small kernels (3x3, 5x5, 7x7; stride 1 and 2) in registers: what is left to do well is to move the bytes.
//
// The planes that a block takes (cuda_direct_plan.h) are neighbouring bytes of memory, so they come into
// shared memory 16 bytes at a time and leave the same way, however narrow a map is. A thread takes a tile of
// 7 rows and 7 columns (14 for bf16 in even rows, which it reads and writes in pairs; 14 x 14 for
// the input gradient with stride 2): it reads every input row that the tile meets once, from shared memory,
// and adds its products to all output rows it belongs to. Which product belongs to which sum is known when
// this is compiled: the loops are unrolled, sums live in registers, and no more rows of them than the kernel
// has. Each element is read from memory once (again where blocks that share a plane overlap) and written
// once.
//
// The weight gradient has a tile of dy in place of sums, and one sum per tap: those of a block are added in a
// fixed order, then those of all blocks of a channel, so the bits are the same on every run. Source: own.
#include "core/cuda/launch.cuh"
#include "core/cuda/reduce.cuh"
#include "ops/depthwise_conv2d/cuda_direct_plan.h"
#include "ops/depthwise_conv2d/cuda_spans.cuh"
#include "ops/depthwise_conv2d/cuda_types.h"
#include "ops/depthwise_conv2d/cuda_weight_parts.h"

namespace replk::cuda {
namespace {

// Along one axis: which inputs a tile of outputs meets, and where input i goes with tap u.
template <int K, int S, bool kSpread>
struct Axis {
  static constexpr int kPadding = K / 2;
  // Of the first input, from where the tile begins (times or by the stride).
  static constexpr int kFirst = kSpread ? -(kPadding / 2) : -kPadding;
  static constexpr int inputs(int outputs) {
    return kSpread ? (outputs - 1 + kPadding) / 2 - kFirst + 1 : (outputs - 1) * S + K;
  }
  // The output, or -1 where the product belongs to none of the tile.
  static constexpr int output(int i, int u, int outputs) {
    const int o = kSpread ? 2 * (i + kFirst) - kPadding + u : (i - u) % S == 0 && i >= u ? (i - u) / S : -1;
    return o < outputs ? o : -1;
  }
  // The input after which output o is complete.
  static constexpr int last(int o) { return kSpread ? (o + kPadding) / 2 - kFirst : o * S + K - 1; }
  static __device__ int begin(int output) { return (kSpread ? output / 2 : output * S) + kFirst; }
};

// n columns of a row of `width` elements, from `column` on, which may lie outside: zeros there. With kPairs
// rows are even, and `column` is even but for kOdd.
template <bool kPairs, bool kOdd, int n, class T>
__device__ __forceinline__ void load_columns(const T* row, int column, int width, float (&values)[n]) {
  if constexpr (!kPairs) {
#pragma unroll
    for (int c = 0; c < n; ++c) {
      const bool inside = static_cast<unsigned>(column + c) < static_cast<unsigned>(width);
      values[c] = inside ? widen(row[column + c]) : 0;
    }
  } else {
#pragma unroll
    for (int c = kOdd ? -1 : 0; c < n; c += 2) {
      const bool inside = static_cast<unsigned>(column + c) < static_cast<unsigned>(width);
      Lanes<T, 2> pair = {};
      if (inside) pair = *reinterpret_cast<const Pair<T>*>(row + column + c);
      if (c >= 0) values[c] = widen(pair[0]);
      if (c + 1 < n) values[c + 1] = widen(pair[1]);
    }
  }
}

template <bool kPairs, int n, class T>
__device__ __forceinline__ void store_columns(T* row, int column, int width, const float (&values)[n]) {
#pragma unroll
  for (int c = 0; c < n; c += kPairs ? 2 : 1) {
    if (column + c >= width) continue;
    if constexpr (kPairs)
      *reinterpret_cast<Pair<T>*>(row + column + c) = {{{narrow<T>(values[c]), narrow<T>(values[c + 1])}}};
    else
      row[column + c] = narrow<T>(values[c]);
  }
}

// Where a block stands: planes [plane, plane + planes), rows of in and out.
struct Span {
  std::int64_t plane;
  int planes, in_row, in_rows, out_row, out_rows;

  template <class A>
  __device__ Span(const DirectPlan& p, std::int64_t first, std::int64_t most, int part, A)
      : plane(first), planes(most < p.planes_at_once ? static_cast<int>(most) : p.planes_at_once) {
    out_row = part * p.strips * p.tile_rows;
    out_rows = min(p.strips * p.tile_rows, p.out_h - out_row);
    in_row = p.parts == 1 ? 0 : max(0, A::begin(out_row));
    const int end = A::begin(out_row) + A::inputs(p.strips * p.tile_rows);
    in_rows = p.parts == 1 ? p.in_h : max(0, min(end, p.in_h) - in_row);
  }
  __device__ std::int64_t in_begin(const DirectPlan& p) const {
    return (plane * p.in_h + in_row) * static_cast<std::int64_t>(p.in_w);
  }
  __device__ int in_count(const DirectPlan& p) const { return ((planes - 1) * p.in_h + in_rows) * p.in_w; }
  __device__ std::int64_t out_begin(const DirectPlan& p) const {
    return (plane * p.out_h + out_row) * static_cast<std::int64_t>(p.out_w);
  }
  __device__ int out_count(const DirectPlan& p) const {
    return ((planes - 1) * p.out_h + out_rows) * p.out_w;
  }
};

// The tile of a thread, within its block.
struct Tile {
  int plane, row, column;
  __device__ Tile(const DirectPlan& p, int index) {
    const int rest = index / p.across;
    column = (index - rest * p.across) * p.tile_columns;
    plane = rest / p.strips;
    row = (rest - plane * p.strips) * p.tile_rows;
  }
};

template <class T>
struct DirectArgs {
  DirectPlan plan;
  bool turned;  // the kernel, by 180 degrees
  const T *in, *weight;
  const float* bias;  // or none
  Target<T> out;
};

// Forward, and the input gradient.
template <class T, int K, int S, bool kSpread, bool kPairs>
__global__ void __launch_bounds__(DirectPlan::kThreads) correlate_direct(const DirectArgs<T> args) {
  using A = Axis<K, S, kSpread>;
  constexpr int kRows = kSpread ? 14 : 7, kColumns = kSpread || kPairs ? 14 : 7;
  const DirectPlan& p = args.plan;
  const std::int64_t group = blockIdx.x / p.parts, first = group * p.planes_at_once;
  const Span span(p, first, p.planes - first, static_cast<int>(blockIdx.x % p.parts), A());
  char* const shared = dynamic_shared();
  T* const in = shared_like(shared, args.in + span.in_begin(p));
  T* const out = shared_like(shared + p.in_bytes, args.out.data + span.out_begin(p));
  auto* const weights = reinterpret_cast<float*>(shared + p.in_bytes + p.out_bytes);
  load_span(in, args.in + span.in_begin(p), span.in_count(p));
  const std::int64_t channel = span.plane / p.batch;
  const int channels = static_cast<int>((span.plane + span.planes - 1) / p.batch - channel) + 1;
  for (int i = threadIdx.x; i < channels * K * K; i += blockDim.x) {
    const int tap = i % (K * K), c = i / (K * K);
    weights[i] = widen(args.weight[(channel + c) * K * K + (args.turned ? K * K - 1 - tap : tap)]);
  }
  wait_for_copies();
  __syncthreads();

  for (int index = threadIdx.x; index < span.planes * p.strips * p.across; index += blockDim.x) {
    const Tile tile(p, index);
    const int c = static_cast<int>((span.plane + tile.plane) / p.batch - channel);
    float taps[K][K];
#pragma unroll
    for (int i = 0; i < K * K; ++i) taps[i / K][i % K] = weights[c * K * K + i];
    const float offset = args.bias ? args.bias[channel + c] : 0;
    float sum[kRows][kColumns];
#pragma unroll
    for (int i = 0; i < kRows * kColumns; ++i) sum[i / kColumns][i % kColumns] = offset;
    const int row = A::begin(span.out_row + tile.row), column = A::begin(tile.column);
    const T* const plane = in + (tile.plane * p.in_h - span.in_row) * p.in_w;
#pragma unroll
    for (int i = 0; i < A::inputs(kRows); ++i) {
      if (static_cast<unsigned>(row + i) < static_cast<unsigned>(p.in_h)) {
        float values[A::inputs(kColumns)];
        load_columns<kPairs && !kSpread, A::kFirst % 2 != 0>(plane + (row + i) * p.in_w, column, p.in_w,
                                                             values);
#pragma unroll
        for (int u = 0; u < K; ++u) {
          const int o = A::output(i, u, kRows);
          if (o < 0) continue;
#pragma unroll
          for (int v = 0; v < K; ++v)
#pragma unroll
            for (int j = 0; j < A::inputs(kColumns); ++j)
              if (const int to = A::output(j, v, kColumns); to >= 0) sum[o][to] += taps[u][v] * values[j];
        }
      }
#pragma unroll
      for (int o = 0; o < kRows; ++o)
        if (A::last(o) == i && tile.row + o < span.out_rows)
          store_columns<kPairs>(out + (tile.plane * p.out_h + tile.row + o) * p.out_w, tile.column, p.out_w,
                                sum[o]);
    }
  }
  __syncthreads();
  store_span(args.out, span.out_begin(p), span.out_count(p), out);
}

template <class T>
struct DirectWeightArgs {
  DirectPlan plan;
  const T *x, *dy;
  std::int64_t chunks;  // of a channel: planes that a block brings in together
  int shares;           // blocks of a channel
  float* partial;       // [share][channel][tap]
  std::int64_t channels;
};

template <class T, int K, int S, bool kPairs>
__global__ void __launch_bounds__(DirectPlan::kThreads) weigh_direct(const DirectWeightArgs<T> args) {
  using A = Axis<K, S, false>;
  constexpr int kRows = 7, kColumns = kPairs ? 14 : 7;
  const DirectPlan& p = args.plan;
  const std::int64_t channel = blockIdx.x / args.shares;
  const int share = static_cast<int>(blockIdx.x % args.shares);
  Sums<float, K* K> sums = Sums<float, K * K>::zero();
  const std::int64_t end = args.chunks * (share + 1) / args.shares;
  for (std::int64_t chunk = args.chunks * share / args.shares; chunk < end; ++chunk) {
    const std::int64_t first = chunk / p.parts * p.planes_at_once;
    const Span span(p, channel * p.batch + first, p.batch - first, static_cast<int>(chunk % p.parts), A());
    char* const shared = dynamic_shared();
    T* const x = shared_like(shared, args.x + span.in_begin(p));
    T* const dy = shared_like(shared + p.in_bytes, args.dy + span.out_begin(p));
    __syncthreads();  // the chunk before has been read
    load_span(x, args.x + span.in_begin(p), span.in_count(p));
    load_span(dy, args.dy + span.out_begin(p), span.out_count(p));
    wait_for_copies();
    __syncthreads();
    for (int index = threadIdx.x; index < span.planes * p.strips * p.across; index += blockDim.x) {
      const Tile tile(p, index);
      const int row = A::begin(span.out_row + tile.row), column = A::begin(tile.column);
      const T* const x_plane = x + (tile.plane * p.in_h - span.in_row) * p.in_w;
      float gradient[kRows][kColumns];
#pragma unroll
      for (int i = 0; i < A::inputs(kRows); ++i) {
        if (i % S == 0 && i / S < kRows) {
          const int o = i / S, dy_row = tile.row + o;
          load_columns<kPairs, false>(dy + (tile.plane * p.out_h + dy_row) * p.out_w, tile.column,
                                      dy_row < span.out_rows ? p.out_w : 0, gradient[o]);
        }
        if (static_cast<unsigned>(row + i) >= static_cast<unsigned>(p.in_h)) continue;
        float values[A::inputs(kColumns)];
        load_columns<kPairs, A::kFirst % 2 != 0>(x_plane + (row + i) * p.in_w, column, p.in_w, values);
#pragma unroll
        for (int u = 0; u < K; ++u) {
          const int o = A::output(i, u, kRows);
          if (o < 0) continue;
#pragma unroll
          for (int v = 0; v < K; ++v)
#pragma unroll
            for (int j = 0; j < kColumns; ++j) sums[u * K + v] += gradient[o][j] * values[j * S + v];
        }
      }
    }
  }
  sums = block_reduce(sums);
  if (threadIdx.x != 0) return;
  float* const partial = args.partial + (share * args.channels + channel) * (K * K);
#pragma unroll
  for (int i = 0; i < K * K; ++i) partial[i] = sums[i];
}

// Calls f(K, S) with what the geometry says, known when compiled.
template <class F>
void with_sizes(const DepthwiseConv2dGeometry& g, const F& f) {
  const auto with_stride = [&](auto kernel) {
    if (g.stride.h == 1)
      f(kernel, std::integral_constant<int, 1>());
    else
      f(kernel, std::integral_constant<int, 2>());
  };
  if (g.kernel.h == 3)
    with_stride(std::integral_constant<int, 3>());
  else if (g.kernel.h == 5)
    with_stride(std::integral_constant<int, 5>());
  else
    with_stride(std::integral_constant<int, 7>());
}

// True when both can be read and written in pairs of 16-bit elements.
template <class T>
bool in_pairs(const DepthwiseConv2dGeometry& g, const T* a, const T* b) {
  const auto even = [](const T* p) { return reinterpret_cast<std::uintptr_t>(p) % 4 == 0; };
  return sizeof(T) == 2 && g.input.w % 2 == 0 && g.output.w % 2 == 0 && even(a) && even(b);
}

template <class Kernel, class Args>
void launch_direct(const char* name, std::int64_t blocks, Kernel kernel, const Args& args) {
  const int bytes = args.plan.shared_bytes;
  check_call(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
             "cudaFuncSetAttribute");
  launch(name, {blocks, args.plan.threads, static_cast<std::size_t>(bytes)}, kernel, args);
}

template <class T>
void correlate(const char* name, const DepthwiseConv2dGeometry& g, DepthwisePass pass, const Tensor& in,
               const Tensor& weight, const Tensor& bias, GradTarget out) {
  const T* from = in.data<T>();
  const Target<T> to{out.tensor.data<T>(), out.accumulate};
  const bool pairs = in_pairs(g, from, to.data), turned = pass == DepthwisePass::backward_input;
  const DirectArgs<T> args{DirectPlan(g, pass, sizeof(T), pairs),
                           turned && g.stride.h == 1,
                           from,
                           weight.data<T>(),
                           bias.defined() ? bias.data<float>() : nullptr,
                           to};
  with_sizes(g, [&]<class K, class S>(K, S) {
    const auto run = [&]<class Pairs>(Pairs) {
      constexpr bool kPairs = Pairs::value;
      if (turned && S::value == 2)
        launch_direct(name, args.plan.blocks(),
                      correlate_direct<T, K::value, S::value, S::value == 2, kPairs>, args);
      else
        launch_direct(name, args.plan.blocks(), correlate_direct<T, K::value, S::value, false, kPairs>, args);
    };
    if constexpr (sizeof(T) == 2)
      if (pairs) return run(std::true_type());
    run(std::false_type());
  });
}

template <class T>
void weigh(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& dy, GradTarget dweight) {
  constexpr int kBlocks = 1024;  // that keep a large GPU busy
  const T *x_data = x.data<T>(), *dy_data = dy.data<T>();
  const bool pairs = in_pairs(g, x_data, dy_data);
  const DirectPlan plan(g, DepthwisePass::backward_weight, sizeof(T), pairs);
  const std::int64_t chunks = ceil_div(g.batch, plan.planes_at_once) * plan.parts;
  const int shares = static_cast<int>(std::min<std::int64_t>(ceil_div(kBlocks, g.channels), chunks));
  WeightParts parts(shares, dweight);
  const DirectWeightArgs<T> args{plan, x_data, dy_data, chunks, shares, parts.data(), g.channels};
  with_sizes(g, [&]<class K, class S>(K, S) {
    const auto run = [&]<class Pairs>(Pairs) {
      launch_direct("depthwise_conv2d.backward_weight", g.channels * shares,
                    weigh_direct<T, K::value, S::value, Pairs::value>, args);
    };
    if constexpr (sizeof(T) == 2)
      if (pairs) return run(std::true_type());
    run(std::false_type());
  });
  parts.add();
}

}  // namespace

void depthwise_conv2d_forward_direct(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& weight,
                                     const Tensor& bias, Tensor& y) {
  with_f32_or_bf16(x.dtype(), [&]<class T>(TypeTag<T>) {
    correlate<T>("depthwise_conv2d", g, DepthwisePass::forward, x, weight, bias, {y, false});
  });
}

void depthwise_conv2d_backward_input_direct(const DepthwiseConv2dGeometry& g, const Tensor& weight,
                                            const Tensor& dy, GradTarget dx) {
  with_f32_or_bf16(dy.dtype(), [&]<class T>(TypeTag<T>) {
    correlate<T>("depthwise_conv2d.backward_input", g, DepthwisePass::backward_input, dy, weight, {}, dx);
  });
}

void depthwise_conv2d_backward_weight_direct(const DepthwiseConv2dGeometry& g, const Tensor& x,
                                             const Tensor& dy, GradTarget dweight) {
  with_f32_or_bf16(dy.dtype(), [&]<class T>(TypeTag<T>) { weigh<T>(g, x, dy, dweight); });
}

}  // namespace replk::cuda
