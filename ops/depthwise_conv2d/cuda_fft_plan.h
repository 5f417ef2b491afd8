// How the FFT kernels of a GPU cut a convolution into blocks. Plain numbers: host code makes them, kernels
// read them.
#pragma once

#include <type_traits>

#include "ops/depthwise_conv2d/depthwise_conv2d.h"

namespace replk::cuda {

/// Heights and widths of the planes that a kernel reads and writes.
struct FftSizes {
  int in_h, in_w, out_h, out_w;
  bool operator==(const FftSizes&) const = default;
};

struct FftPlan {
  /// Lengths of transforms for which there are kernels. Both axes take the same.
  static constexpr int kLengths[] = {20, 28, 36, 42, 56, 63, 72};

  int length;
  int channels, batch, pairs;  // pairs of samples of a channel; the last may have one
  int kernel_h, kernel_w, padding_h, padding_w;
  FftSizes sizes;  // of x and y
  explicit FftPlan(const DepthwiseConv2dGeometry& g);

  /// Parts of the samples whose products are summed by blocks of their own, for the weight gradient.
  int parts() const;

  /// Height and width of all planes where there is a kernel for just these; 0: they are read when it runs.
  int side() const {
    const auto square = [&](int of_length, int side) {
      return length == of_length && sizes == FftSizes{side, side, side, side};
    };
    return square(72, 56) ? 56 : square(42, 28) ? 28 : square(28, 14) ? 14 : 0;
  }
};

/// Blocks of the kernels of length L take kPairs pairs of planes and have a thread for each of their rows.
/// kBlocks of them share a multiprocessor, which leaves a thread registers for L complex numbers and some
/// thirty more; ConvolveBlock for forward and input gradient, ProductBlock for the weight gradient.
template <int L>
struct ConvolveBlock {
  static constexpr int kPairs = L <= 28 ? 8 : L <= 36 ? 7 : L <= 42 ? 3 : 1;
  static constexpr int kThreads = (kPairs * L + 31) / 32 * 32;
  static constexpr int kBlocks = L <= 20 ? 4 : L <= 28 ? 3 : L <= 36 ? 2 : L <= 42 ? 4 : L <= 63 ? 6 : 4;
};
template <int L>
struct ProductBlock {
  static constexpr int kPairs = L <= 20 ? 6 : L <= 28 ? 4 : L <= 42 ? 3 : 1;
  static constexpr int kThreads = (kPairs * L + 31) / 32 * 32;
  static constexpr int kBlocks = L <= 28 ? 5 : L <= 42 ? 3 : L <= 56 ? 4 : 3;
};

/// Complex numbers from one row of a plane to the next in shared memory: odd, so that neighbouring rows as
/// well as neighbouring columns are in different banks.
template <int L, int kSide>
inline constexpr int kFftPitch = (kSide ? kSide : L) | 1;

/// Calls f(length, side) with integral constants: all sizes are `side`, or 0 where they are known only when
/// it runs. What is known when it is compiled costs no instruction: neither addresses nor comparisons.
template <class F>
void with_fft(const FftPlan& p, const F& f) {
  const auto call = [&]<int L, int kSide>() {
    f(std::integral_constant<int, L>(), std::integral_constant<int, kSide>());
  };
  switch (p.side()) {
    case 56:
      return call.template operator()<72, 56>();
    case 28:
      return call.template operator()<42, 28>();
    case 14:
      return call.template operator()<28, 14>();
  }
  switch (p.length) {
    case 20:
      return call.template operator()<20, 0>();
    case 28:
      return call.template operator()<28, 0>();
    case 36:
      return call.template operator()<36, 0>();
    case 42:
      return call.template operator()<42, 0>();
    case 56:
      return call.template operator()<56, 0>();
    case 63:
      return call.template operator()<63, 0>();
    default:
      return call.template operator()<72, 0>();
  }
}

}  // namespace replk::cuda
