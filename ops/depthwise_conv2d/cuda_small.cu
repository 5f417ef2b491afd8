// Small kernels (3x3, 5x5, 7x7, stride 1) on the tensor cores, forward and input gradient.
//
// For one kernel row u,  Y[h, 8] += X[h + u - p, 16] T_u  with the band matrix T_u[i, j] = weight[u, i - j -
// 4 + p]: 16 columns of X, from 4 in front of the 8 of Y on, hold all that a kernel up to 9 wide meets. That
// is one tensor-core product for 16 rows of 8 outputs, and the T_u stay in registers for all planes of a
// channel.
//
// Rows of a product need not be neighbours. A warp takes 8 lines, each a strip of R rows of a plane, and two
// column tiles: rows g and g + 8 of its product number i are row i of line g. So a piece of X is read once,
// for all kernel rows u: its product with T_u belongs to the outputs u rows further up, which wait in
// registers (K rows of them at a time) until their last product. And a column block of X that is the right
// half for one column tile is the left half for its neighbour. Per row 3 words are read and 2 written by a
// thread, for K products.
//
// Planes come into shared memory as they lie, 16 bytes at a time, the next chunk while this one is computed,
// and leave the same way. Each element is read from memory once and written once. bf16 and f16 with f32 sums.
// Source: own.
#include "core/cuda/launch.cuh"
#include "ops/depthwise_conv2d/cuda_small.cuh"

namespace replk::cuda {
namespace {

template <class T>
struct SmallArgs {
  SmallCorrelationPlan plan;
  bool turned;  // the kernel, by 180 degrees
  const T *in, *weight;
  const float* bias;  // or none
  Target<T> out;
};

// Divisions that every item takes.
struct Lines {
  QuickDivision tiles_of, plane_of;
  __device__ explicit Lines(const SmallCorrelationPlan& p) : tiles_of(p.tiles), plane_of(p.lines_of_plane) {}
};

// T_u for all u, as B of a product: rows are columns of X, from 4 in front of the outputs on.
template <int K, class T>
__device__ void load_bands(FragmentB (&bands)[K], const T* weight, bool turned) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int u = 0; u < K; ++u)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int v = 2 * t + 8 * half - 4 - g + K / 2, tap = turned ? K * K - 1 - (u * K + v) : u * K + v;
      const bool first = v >= 0 && v < K, second = v + 1 >= 0 && v + 1 < K;
      const std::uint32_t low = first ? weight[tap].bits : 0;
      const std::uint32_t high = second ? weight[turned ? tap - 1 : tap + 1].bits : 0;
      bands[u].x[half] = low | high << 16;
    }
}

// Item `item` of a chunk: 8 lines by 16 columns.
template <int K, int R, class T>
__device__ void correlate_item(const SmallCorrelationPlan& p, const Lines& lines, const T* in, T* out,
                               int planes, int item, const FragmentB (&bands)[K], float offset) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const int group = static_cast<int>(lines.tiles_of(item)), column = (item - group * p.tiles) * 16 + 2 * t;
  const int line = ((((group >> p.step_bits) << 3) + g) << p.step_bits) + (group & ((1 << p.step_bits) - 1));
  const int plane = static_cast<int>(lines.plane_of(line));
  // Of a line that does not exist no row does.
  const int row = plane < planes ? (line - plane * p.lines_of_plane) * R : p.height + K;
  const int place = (plane * p.height + row) * p.width + column;
  const T* const from = in + place - K / 2 * p.width - 4;
  T* const to = out + place;
  const auto width_of = [&](int i) {
    return static_cast<unsigned>(i) < static_cast<unsigned>(p.height) ? p.width : 0;
  };
  const auto load_row = [&](int i) {
    const auto width = static_cast<unsigned>(width_of(row - K / 2 + i));
    std::uint32_t block[3] = {};
#pragma unroll
    for (int b = 0; b < 3; ++b)
      if (static_cast<unsigned>(column - 4 + 8 * b) < width)
        block[b] = *reinterpret_cast<const std::uint32_t*>(from + i * p.width + 8 * b);
    return FragmentA{{block[0], block[1], block[1], block[2]}};
  };
  float sum[K][4];  // of output row o in sum[o % K]
  FragmentA next = load_row(0);
#pragma unroll
  for (int i = 0; i < R + K - 1; ++i) {
    const FragmentA a = next;
    if (i + 1 < R + K - 1) next = load_row(i + 1);  // before anything is stored: it is on its way meanwhile
    if (i < R) {
#pragma unroll
      for (float& s : sum[i % K]) s = offset;
    }
#pragma unroll
    for (int u = K - 1; u >= 0; --u)
      if (const int o = i - u; o >= 0 && o < R) multiply(sum[o % K], a, bands[u], T{});
    const int o = i - (K - 1);
    if (o < 0) continue;
    const int width = width_of(row + o);
#pragma unroll
    for (int half = 0; half < 2; ++half)
      if (column + 8 * half < width)
        *reinterpret_cast<std::uint32_t*>(to + o * p.width + 8 * half) =
            round_pair(sum[o % K][2 * half], sum[o % K][2 * half + 1], T{});
  }
}

template <int K, int R, class T>
__global__ void __launch_bounds__(SmallPlan::kThreads) correlate_small(const SmallArgs<T> args) {
  const SmallCorrelationPlan& p = args.plan;
  const int channel = static_cast<int>(blockIdx.x) / p.shares,
            share = static_cast<int>(blockIdx.x) % p.shares;
  const int begin = p.chunks * share / p.shares, end = p.chunks * (share + 1) / p.shares;
  char* const shared = dynamic_shared();
  const auto in_of = [&](int chunk) {
    return shared_like(shared + (1 + (chunk - begin) % 2) * p.span_bytes,
                       args.in + Chunk(p, channel, chunk).begin);
  };
  const auto start = [&](int chunk) {
    if (chunk < end) {
      const Chunk c(p, channel, chunk);
      load_span(in_of(chunk), args.in + c.begin, c.count);
    }
    commit_copies();
  };
  start(begin);
  const Lines lines(p);
  FragmentB bands[K];
  load_bands(bands, args.weight + static_cast<std::int64_t>(channel) * K * K, args.turned);
  const float offset = args.bias ? args.bias[channel] : 0;
  // Told from lane 0, so that the compiler knows it to be the same for a whole warp.
  const int warp = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / kWarp, 0);
  for (int chunk = begin; chunk < end; ++chunk) {
    start(chunk + 1);
    wait_for_copies_but_last();
    __syncthreads();  // this chunk is there, and what the one before put out is on its way
    const Chunk c(p, channel, chunk);
    T* const out = shared_like(shared, args.out.data + c.begin);
    const int run_bits = p.step_bits + 3;  // of lines that 2^step_bits groups share
    const int runs = (c.planes * p.lines_of_plane + (1 << run_bits) - 1) >> run_bits;
    for (int item = warp; item < (runs << p.step_bits) * p.tiles; item += SmallPlan::kThreads / kWarp)
      correlate_item<K, R>(p, lines, in_of(chunk), out, c.planes, item, bands, offset);
    __syncthreads();
    store_span(args.out, c.begin, c.count, out);
  }
}

template <int K, int R, class T>
void launch_small(const char* name, const SmallArgs<T>& args) {
  const auto kernel = correlate_small<K, R, T>;
  const SmallCorrelationPlan& p = args.plan;
  check_call(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, p.shared_bytes),
             "cudaFuncSetAttribute");
  launch(name, {p.blocks(), SmallPlan::kThreads, static_cast<std::size_t>(p.shared_bytes)}, kernel, args);
}

template <class T>
void run(const char* name, const DepthwiseConv2dGeometry& g, bool turned, const Tensor& in,
         const Tensor& weight, const Tensor& bias, GradTarget out) {
  const T* from = in.data<T>();
  const Target<T> to{out.tensor.data<T>(), out.accumulate};
  const SmallArgs<T> args{SmallCorrelationPlan(g),
                          turned,
                          from,
                          weight.data<T>(),
                          bias.defined() ? bias.data<float>() : nullptr,
                          to};
  with_small_kernel(g, [&]<int K>(std::integral_constant<int, K>) {
    if (args.plan.rows == 7)
      launch_small<K, 7>(name, args);
    else
      launch_small<K, 14>(name, args);
  });
}

}  // namespace

void correlate_small(const char* name, const DepthwiseConv2dGeometry& g, bool turned, const Tensor& in,
                     const Tensor& weight, const Tensor& bias, GradTarget out) {
  if (g.input == Extent2d(7)) return correlate_seven(name, g, turned, in, weight, bias, out);
  if (in.dtype() == DType::bf16)
    run<bf16>(name, g, turned, in, weight, bias, out);
  else
    run<f16>(name, g, turned, in, weight, bias, out);
}

}  // namespace replk::cuda
