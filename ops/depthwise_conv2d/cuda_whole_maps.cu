// Small maps on the tensor cores, whole: with the pixels of a map in one row, depth-wise convolution is one
// matrix product per channel,
//
//     Y[n, q] = sum over p of X[n, p] M[p, q],   M[p, q] = weight[u, v] where pixel p of the input and q of
//     the
//                                                output are (u - padding, v - padding) apart, 0 where no tap
//                                                is
//     dW[u, v] = sum of G[p, q] over such p, q,  G[p, q] = sum over n of X[n, p] dY[n, q]
//
// and rows of X, Y and dY are what lies in memory: no row of a map is padded, nothing is moved to be aligned.
// The products with taps outside the kernel are computed too, which at 14x14 and below costs less than to
// avoid them.
//
// Forward (and the input gradient, with the kernel turned): a block takes a few channels and up to 64 images.
// M is nowhere: its element depends on the difference of two pixels' places, so a thread reads it from a
// table of those differences. A warp takes 32 pixels of the output of all images. Weight gradient: a warp
// takes a channel, keeps G in registers while it goes through the images, then adds up its elements tap by
// tap, in order. Every element is read from memory once and written once.
//
// bf16 and f16 with f32 sums; f32 as three tf32 products. Source: own.
#include "core/cuda/launch.cuh"
#include "ops/depthwise_conv2d/cuda_mma.cuh"
#include "ops/depthwise_conv2d/cuda_planes.cuh"
#include "ops/depthwise_conv2d/cuda_spans.cuh"
#include "ops/depthwise_conv2d/cuda_weight_parts.h"
#include "ops/depthwise_conv2d/cuda_whole_maps.h"

namespace replk::cuda {
namespace {

constexpr int kWarps = 8, kImages = 64;
constexpr int kImageTiles = kImages / 16,
              kPixelTiles = 4;        // of 16 images, of 8 pixels: in a warp's registers
constexpr int kMostPixels = 208;      // a map of 14 x 14, or a little more
constexpr int kMostForGradient = 64;  // G in the registers of a warp

constexpr int round_up(int a, int b) { return (a + b - 1) / b * b; }

// Two 16-bit elements or one f32, as the tensor cores take them. Elements are `step` apart, those from `end`
// on are 0. With kPairs the two are neighbours at an even place.
template <bool kPairs, class T>
__device__ std::uint32_t word_at(const T* elements, int i, int end, int step) {
  if constexpr (sizeof(T) == 4) {
    return i < end ? __float_as_uint(elements[i * step]) : 0;
  } else if constexpr (kPairs) {
    return i < end ? *reinterpret_cast<const std::uint32_t*>(elements + i) : 0;
  } else {
    const std::uint32_t low = i < end ? elements[i * step].bits : 0;
    const std::uint32_t high = i + 1 < end ? elements[(i + 1) * step].bits : 0;
    return low | high << 16;
  }
}

// Elements along the depth of a product that a thread holds in one word, and where its first one is.
template <class T>
struct Depth {
  static constexpr int kAll = Mma<T>::kDepth, kHalf = kAll / 2, kPerWord = 4 / static_cast<int>(sizeof(T));
};

// Sizes that both directions share; `in` is what is multiplied with the kernel: x, or dy.
struct WholeMaps {
  int channels, batch, in_h, in_w, out_h, out_w, kernel_h, kernel_w, padding_h, padding_w;
  bool turned;

  WholeMaps(const DepthwiseConv2dGeometry& g, bool turn)
      : channels(static_cast<int>(g.channels)),
        batch(static_cast<int>(g.batch)),
        in_h(static_cast<int>(turn ? g.output.h : g.input.h)),
        in_w(static_cast<int>(turn ? g.output.w : g.input.w)),
        out_h(static_cast<int>(turn ? g.input.h : g.output.h)),
        out_w(static_cast<int>(turn ? g.input.w : g.output.w)),
        kernel_h(static_cast<int>(g.kernel.h)),
        kernel_w(static_cast<int>(g.kernel.w)),
        padding_h(static_cast<int>(turn ? g.kernel.h - 1 - g.padding.h : g.padding.h)),
        padding_w(static_cast<int>(turn ? g.kernel.w - 1 - g.padding.w : g.padding.w)),
        turned(turn) {}

  __host__ __device__ int in_pixels() const { return in_h * in_w; }
  __host__ __device__ int out_pixels() const { return out_h * out_w; }
  // Differences of two places, rows first.
  __host__ __device__ int table_w() const { return in_w + out_w - 1; }
  __host__ __device__ int table() const { return (in_h + out_h - 1) * table_w(); }
  // Of a channel's images in shared memory, which may begin anywhere in 16 bytes.
  __host__ __device__ static int span_bytes(int images, int pixels, int element_bytes) {
    return round_up(images * pixels * element_bytes, 16) + 16;
  }
};

template <class T>
struct WholeArgs {
  WholeMaps maps;
  int channels_at_once, warps_per_channel;
  const T *in, *weight;
  const float* bias;  // or none
  Target<T> out;

  __host__ __device__ int image_groups() const { return (maps.batch + kImages - 1) / kImages; }
  __host__ __device__ int images() const { return maps.batch < kImages ? maps.batch : kImages; }
  __host__ __device__ int in_bytes() const {
    return WholeMaps::span_bytes(images(), maps.in_pixels(), sizeof(T));
  }
  __host__ __device__ int out_bytes() const {
    return WholeMaps::span_bytes(images(), maps.out_pixels(), sizeof(T));
  }
  __host__ __device__ int table_bytes() const {
    return round_up(maps.table() * static_cast<int>(sizeof(T)), 16);
  }
  // Places of input pixels (to whole pieces of a product) and of output pixels (to whole tiles).
  __host__ __device__ int in_places() const { return round_up(maps.in_pixels(), 16); }
  __host__ __device__ int out_places() const { return warps_per_channel * kPixelTiles * 8; }
  __host__ __device__ int shared_bytes() const {
    return channels_at_once * (in_bytes() + out_bytes() + table_bytes()) + (in_places() + out_places()) * 2;
  }
};

// The tables of differences of some channels, and the places they are differences of.
template <class T>
__device__ void fill_tables(const WholeArgs<T>& args, int channel, int channels, char* tables,
                            short* places) {
  const WholeMaps& m = args.maps;
  const int width = m.table_w(), count = m.table(), taps = m.kernel_h * m.kernel_w;
  const QuickDivision channel_of(count), row_of(width);
  for (int i = threadIdx.x; i < channels * count; i += blockDim.x) {
    const int c = static_cast<int>(channel_of(i)), at = i - c * count;
    const int row = static_cast<int>(row_of(at)), column = at - row * width;
    const int u = row - (m.out_h - 1) + m.padding_h, v = column - (m.out_w - 1) + m.padding_w;
    T tap{};
    if (u >= 0 && u < m.kernel_h && v >= 0 && v < m.kernel_w) {
      const int place = u * m.kernel_w + v;
      tap =
          args.weight[static_cast<std::int64_t>(channel + c) * taps + (m.turned ? taps - 1 - place : place)];
    }
    reinterpret_cast<T*>(tables + c * args.table_bytes())[at] = tap;
  }
  const int in_places = args.in_places();
  for (int i = threadIdx.x; i < in_places + args.out_places(); i += blockDim.x) {
    const bool out = i >= in_places;
    const int pixel = out ? i - in_places : i, columns = out ? m.out_w : m.in_w;
    const bool exists = pixel < (out ? m.out_pixels() : m.in_pixels());
    places[i] = static_cast<short>(exists ? pixel / columns * width + pixel % columns : 0);
  }
}

template <bool kPairs, class T>
__global__ void __launch_bounds__(kWarps* kWarp, 2) multiply_maps(const WholeArgs<T> args) {
  using D = Depth<T>;
  const WholeMaps& m = args.maps;
  const int image = static_cast<int>(blockIdx.x) % args.image_groups() * kImages;
  const int channel = static_cast<int>(blockIdx.x) / args.image_groups() * args.channels_at_once;
  const int images = min(args.images(), m.batch - image);
  const int channels = min(args.channels_at_once, m.channels - channel);
  const int in_pixels = m.in_pixels(), out_pixels = m.out_pixels();
  char* const in_spans = dynamic_shared();
  char* const out_spans = in_spans + args.channels_at_once * args.in_bytes();
  char* const tables = out_spans + args.channels_at_once * args.out_bytes();
  auto* const places = reinterpret_cast<short*>(tables + args.channels_at_once * args.table_bytes());
  const auto map_of = [&](int c) { return static_cast<std::int64_t>(channel + c) * m.batch + image; };
  for (int c = 0; c < channels; ++c) {
    const T* from = args.in + map_of(c) * in_pixels;
    load_span(shared_like(in_spans + c * args.in_bytes(), from), from, images * in_pixels);
  }
  fill_tables(args, channel, channels, tables, places);
  wait_for_copies();
  __syncthreads();

  // Told from lane 0, so that the compiler knows what is the same for a whole warp.
  const int warp = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / kWarp, 0);
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const int c = warp / args.warps_per_channel, first = warp % args.warps_per_channel * kPixelTiles * 8;
  if (c < channels) {
    const T* const in = shared_like(in_spans + c * args.in_bytes(), args.in + map_of(c) * in_pixels);
    T* const out = shared_like(out_spans + c * args.out_bytes(), args.out.data + map_of(c) * out_pixels);
    const T* const table = reinterpret_cast<const T*>(tables + c * args.table_bytes());
    // Element M[p, q] is at table[place of p - place of q + the last place], q = first + 8 n + g.
    const T* column[kPixelTiles];
#pragma unroll
    for (int n = 0; n < kPixelTiles; ++n)
      column[n] =
          table + (m.out_h - 1) * m.table_w() + m.out_w - 1 - places[args.in_places() + first + 8 * n + g];
    const T* row[kImageTiles][2];
#pragma unroll
    for (int i = 0; i < kImageTiles; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        row[i][half] = in + min(16 * i + 8 * half + g, images - 1) * in_pixels;
    float sum[kImageTiles][kPixelTiles][4] = {};
    for (int p = 0; p < in_pixels; p += D::kAll) {
      const int p0 = p + t * D::kPerWord, p1 = p0 + D::kHalf;
      typename Mma<T>::B b[kPixelTiles];
#pragma unroll
      for (int n = 0; n < kPixelTiles; ++n) {
        FragmentB raw;
        if constexpr (sizeof(T) == 4) {
          raw = {{__float_as_uint(column[n][places[p0]]), __float_as_uint(column[n][places[p1]])}};
        } else {
          raw.x[0] = column[n][places[p0]].bits | std::uint32_t{column[n][places[p0 + 1]].bits} << 16;
          raw.x[1] = column[n][places[p1]].bits | std::uint32_t{column[n][places[p1 + 1]].bits} << 16;
        }
        b[n] = Mma<T>::prepare(raw);
      }
#pragma unroll
      for (int i = 0; i < kImageTiles; ++i) {
        if (16 * i >= images) continue;
        const auto a = Mma<T>::prepare(FragmentA{
            {word_at<kPairs>(row[i][0], p0, in_pixels, 1), word_at<kPairs>(row[i][1], p0, in_pixels, 1),
             word_at<kPairs>(row[i][0], p1, in_pixels, 1), word_at<kPairs>(row[i][1], p1, in_pixels, 1)}});
#pragma unroll
        for (int n = 0; n < kPixelTiles; ++n) Mma<T>::run(sum[i][n], a, b[n]);
      }
    }
    const float offset = args.bias ? args.bias[channel + c] : 0;
#pragma unroll
    for (int i = 0; i < kImageTiles; ++i)
#pragma unroll
      for (int n = 0; n < kPixelTiles; ++n)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int n_image = 16 * i + 8 * half + g, pixel = first + 8 * n + 2 * t;
          if (n_image >= images || pixel >= out_pixels) continue;
          T* const to = out + n_image * out_pixels + pixel;
          const T y0 = narrow<T>(sum[i][n][2 * half] + offset),
                  y1 = narrow<T>(sum[i][n][2 * half + 1] + offset);
          if constexpr (kPairs) {
            *reinterpret_cast<Pair<T>*>(to) = {{{y0, y1}}};
          } else {
            to[0] = y0;
            if (pixel + 1 < out_pixels) to[1] = y1;
          }
        }
  }
  __syncthreads();
  for (int k = 0; k < channels; ++k)
    store_span(args.out, map_of(k) * out_pixels, images * out_pixels,
               shared_like(out_spans + k * args.out_bytes(), args.out.data + map_of(k) * out_pixels));
}

template <class T>
struct WholeWeightArgs {
  static constexpr int kPitch = kMostForGradient + 1;  // of G, in f32
  static constexpr int kChannels = 4;                  // a warp each

  WholeMaps maps;
  int shares;  // blocks that share the images of a channel
  const T *x, *dy;
  float* partial;  // [share][channel][tap]

  __host__ __device__ int image_groups() const { return (maps.batch + kImages - 1) / kImages; }
  __host__ __device__ int images() const { return maps.batch < kImages ? maps.batch : kImages; }
  __host__ __device__ int x_bytes() const {
    return WholeMaps::span_bytes(images(), maps.in_pixels(), sizeof(T));
  }
  __host__ __device__ int dy_bytes() const {
    return WholeMaps::span_bytes(images(), maps.out_pixels(), sizeof(T));
  }
  // Of a channel: G takes the place of x and dy. A tile reads up to its end, past the last pixel.
  __host__ __device__ int channel_bytes() const {
    const int spans = x_bytes() + dy_bytes() + 64 * static_cast<int>(sizeof(T));
    const int gradient = kMostForGradient * kPitch * 4;
    return round_up(spans > gradient ? spans : gradient, 16);
  }
  int shared_bytes() const { return kChannels * channel_bytes(); }
};

// dW[u, v] = sum of G[p, q] over p = q + (u, v) - padding, in order; a lane takes taps of its own.
__device__ inline void sum_by_tap(const WholeMaps& m, const float* gradient, int pitch, float* dweight) {
  for (int tap = static_cast<int>(threadIdx.x) % kWarp; tap < m.kernel_h * m.kernel_w; tap += kWarp) {
    const int u = tap / m.kernel_w - m.padding_h, v = tap % m.kernel_w - m.padding_w;
    const int columns = min(m.out_w, m.in_w - v);
    float total = 0;
    for (int i = max(0, -u); i < min(m.out_h, m.in_h - u); ++i)
      for (int j = max(0, -v); j < columns; ++j)
        total += gradient[((i + u) * m.in_w + j + v) * pitch + i * m.out_w + j];
    dweight[tap] = total;
  }
}

template <class T>
__global__ void __launch_bounds__(WholeWeightArgs<T>::kChannels* kWarp)
    multiply_maps_for_weight(const WholeWeightArgs<T> args) {
  using D = Depth<T>;
  constexpr int kRows = kMostForGradient / 16, kColumns = kMostForGradient / 8;
  const WholeMaps& m = args.maps;
  const int share = static_cast<int>(blockIdx.x) % args.shares;
  const int channel = static_cast<int>(blockIdx.x) / args.shares * args.kChannels;
  const int channels = min(args.kChannels, m.channels - channel);
  const int in_pixels = m.in_pixels(), out_pixels = m.out_pixels();
  const int warp = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / kWarp, 0);
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  char* const own = dynamic_shared() + warp * args.channel_bytes();
  float sum[kRows][kColumns][4] = {};
  const int groups = args.image_groups();
  for (int group = groups * share / args.shares; group < groups * (share + 1) / args.shares; ++group) {
    const int image = group * kImages, images = min(kImages, m.batch - image);
    const auto map_of = [&](int c) { return static_cast<std::int64_t>(channel + c) * m.batch + image; };
    const auto x_of = [&](int c) {
      return shared_like(dynamic_shared() + c * args.channel_bytes(), args.x + map_of(c) * in_pixels);
    };
    const auto dy_of = [&](int c) {
      return shared_like(dynamic_shared() + c * args.channel_bytes() + args.x_bytes(),
                         args.dy + map_of(c) * out_pixels);
    };
    __syncthreads();  // the images before have been read
    for (int c = 0; c < channels; ++c) {
      load_span(x_of(c), args.x + map_of(c) * in_pixels, images * in_pixels);
      load_span(dy_of(c), args.dy + map_of(c) * out_pixels, images * out_pixels);
    }
    wait_for_copies();
    __syncthreads();
    if (warp >= channels) continue;
    const T *x = x_of(warp) + g, *dy = dy_of(warp) + g;
    for (int n = 0; n < images; n += D::kAll) {
      const int n0 = n + t * D::kPerWord, n1 = n0 + D::kHalf;
      typename Mma<T>::B b[kColumns];
#pragma unroll
      for (int q = 0; q < kColumns; ++q)
        if (8 * q < out_pixels)
          b[q] = Mma<T>::prepare(FragmentB{{word_at<false>(dy + 8 * q, n0, images, out_pixels),
                                            word_at<false>(dy + 8 * q, n1, images, out_pixels)}});
#pragma unroll
      for (int p = 0; p < kRows; ++p) {
        if (16 * p >= in_pixels) continue;
        const auto a = Mma<T>::prepare(FragmentA{{word_at<false>(x + 16 * p, n0, images, in_pixels),
                                                  word_at<false>(x + 16 * p + 8, n0, images, in_pixels),
                                                  word_at<false>(x + 16 * p, n1, images, in_pixels),
                                                  word_at<false>(x + 16 * p + 8, n1, images, in_pixels)}});
#pragma unroll
        for (int q = 0; q < kColumns; ++q)
          if (8 * q < out_pixels) Mma<T>::run(sum[p][q], a, b[q]);
      }
    }
  }
  __syncthreads();
  if (warp >= channels) return;
  auto* const gradient = reinterpret_cast<float*>(own);
#pragma unroll
  for (int p = 0; p < kRows; ++p)
#pragma unroll
    for (int q = 0; q < kColumns; ++q)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        gradient[(16 * p + i / 2 * 8 + g) * args.kPitch + 8 * q + 2 * t + i % 2] = sum[p][q][i];
  __syncwarp();
  const std::int64_t taps = static_cast<std::int64_t>(m.kernel_h) * m.kernel_w;
  sum_by_tap(m, gradient, args.kPitch,
             args.partial + (static_cast<std::int64_t>(share) * m.channels + channel + warp) * taps);
}

template <class Kernel, class Args>
void launch_whole(const char* name, std::int64_t blocks, int threads, Kernel kernel, const Args& args) {
  const int bytes = args.shared_bytes();
  check_call(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
             "cudaFuncSetAttribute");
  launch(name, {blocks, threads, static_cast<std::size_t>(bytes)}, kernel, args);
}

template <class T>
WholeArgs<T> whole_args(const WholeMaps& maps) {
  WholeArgs<T> args{maps, 1, 0, nullptr, nullptr, nullptr, {}};
  args.warps_per_channel = static_cast<int>(ceil_div(maps.out_pixels(), kPixelTiles * 8));
  args.channels_at_once = std::clamp(kWarps / args.warps_per_channel, 1, maps.channels);
  while (args.channels_at_once > 1 && args.shared_bytes() > kSharedMost) --args.channels_at_once;
  return args;
}

template <class F>
void with_type(DType dtype, const F& f) {
  if (dtype == DType::f32)
    f(TypeTag<float>());
  else if (dtype == DType::bf16)
    f(TypeTag<bf16>());
  else
    f(TypeTag<f16>());
}

}  // namespace

bool whole_maps_apply(const DepthwiseConv2dGeometry& g) {
  return g.input.area() <= kMostPixels && g.output.area() <= kMostPixels;
}

bool whole_maps_apply_to_weight(const DepthwiseConv2dGeometry& g) {
  return g.input.area() <= kMostForGradient && g.output.area() <= kMostForGradient;
}

void multiply_whole_maps(const char* name, const DepthwiseConv2dGeometry& g, bool turned, const Tensor& in,
                         const Tensor& weight, const Tensor& bias, GradTarget out) {
  with_type(in.dtype(), [&]<class T>(TypeTag<T>) {
    WholeArgs<T> args = whole_args<T>(WholeMaps(g, turned));
    args.in = in.data<T>(), args.weight = weight.data<T>();
    args.bias = bias.defined() ? bias.data<float>() : nullptr;
    args.out = {out.tensor.data<T>(), out.accumulate};
    const auto even = [](const T* p) { return reinterpret_cast<std::uintptr_t>(p) % 4 == 0; };
    const bool pairs = sizeof(T) == 2 && args.maps.in_pixels() % 2 == 0 && args.maps.out_pixels() % 2 == 0 &&
                       even(args.in) && even(args.out.data);
    const std::int64_t blocks = ceil_div(g.channels, args.channels_at_once) * args.image_groups();
    const int threads = args.channels_at_once * args.warps_per_channel * kWarp;
    if constexpr (sizeof(T) == 2)
      if (pairs) return launch_whole(name, blocks, threads, multiply_maps<true, T>, args);
    launch_whole(name, blocks, threads, multiply_maps<false, T>, args);
  });
}

void multiply_whole_maps_for_weight(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& dy,
                                    GradTarget dweight) {
  constexpr int kBlocks = 512;  // that keep a large GPU busy
  with_type(x.dtype(), [&]<class T>(TypeTag<T>) {
    WholeWeightArgs<T> args{WholeMaps(g, false), 1, x.data<T>(), dy.data<T>(), nullptr};
    const std::int64_t blocks = ceil_div(g.channels, args.kChannels);
    args.shares = static_cast<int>(std::min<std::int64_t>(ceil_div(kBlocks, blocks), args.image_groups()));
    WeightParts parts(args.shares, dweight);
    args.partial = parts.data();
    launch_whole("depthwise_conv2d.backward_weight", blocks * args.shares, args.kChannels * kWarp,
                 multiply_maps_for_weight<T>, args);
    parts.add();
  });
}

}  // namespace replk::cuda
