// Which planes the FFT kernel carries together, and how long its transforms are.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "ops/depthwise_conv2d/depthwise_conv2d.h"
#include "ops/depthwise_conv2d/fft_length.h"

namespace replk::cpu {

inline FftLength fft_length(std::int64_t input, std::int64_t output, std::int64_t kernel,
                            std::int64_t padding) {
  return FftLength::at_least(std::max({input + padding, output + kernel - 1 - padding, output, kernel}));
}

inline std::int64_t modulo(std::int64_t a, std::int64_t n) { return (a % n + n) % n; }

// Which planes share a group of vectors. With two samples or more a lane holds two samples of one channel,
// and several channels share the vectors when a channel's samples do not fill them; a batch of 1 pairs
// channels.
struct PairGroups {
  std::int64_t lanes, batch, channels;
  bool pairs_channels;
  std::int64_t lanes_per_channel;  // with pairs of samples
  std::int64_t channels_at_once, samples_at_once, units;

  PairGroups(const DepthwiseConv2dGeometry& g, std::int64_t lanes_)
      : lanes(lanes_), batch(g.batch), channels(g.channels), pairs_channels(g.batch == 1) {
    lanes_per_channel = std::min((batch + 1) / 2, lanes);
    // A power of two, so that the channels of a group lie in one block of `lanes` channels of the spectra.
    channels_at_once = pairs_channels ? 2 * lanes
                                      : static_cast<std::int64_t>(std::bit_floor(
                                            static_cast<std::uint64_t>(lanes / lanes_per_channel)));
    samples_at_once = pairs_channels ? 1 : 2 * lanes_per_channel;
    units = (channels + channels_at_once - 1) / channels_at_once;
  }

  // The plane in part 0 (real) or 1 (imaginary) of a lane of the group at `channel` and sample `n`; -1 for
  // none.
  std::int64_t plane(std::int64_t channel, std::int64_t n, std::int64_t lane, int part) const {
    if (pairs_channels) {
      const std::int64_t c = channel + part * lanes + lane;
      return c < channels ? c : -1;
    }
    const std::int64_t c = channel + lane / lanes_per_channel, s = lane % lanes_per_channel;
    const std::int64_t samples = std::min(samples_at_once, batch - n), half = (samples + 1) / 2;
    const bool none =
        lane / lanes_per_channel >= channels_at_once || c >= channels || s >= (part ? samples - half : half);
    return none ? -1 : c * batch + n + part * half + s;
  }
};

}  // namespace replk::cpu
