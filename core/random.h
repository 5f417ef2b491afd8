// Counter-based random numbers: every number is a function of (seed, stream, index) alone, so results do not
// depend on the order of draws or the number of threads.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace replk {

/// Philox4x32-10: four random 32-bit words for one 128-bit counter (stream, index) and one 64-bit key (seed).
/// Source: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011.
/// (constexpr, so that kernels on a GPU call this very function.)
constexpr std::array<std::uint32_t, 4> philox(std::uint64_t seed, std::uint64_t stream, std::uint64_t index) {
  std::uint32_t key0 = static_cast<std::uint32_t>(seed), key1 = static_cast<std::uint32_t>(seed >> 32);
  std::array<std::uint32_t, 4> c = {
      static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32),
      static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)};
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = std::uint64_t{0xD2511F53} * c[0];
    const std::uint64_t product1 = std::uint64_t{0xCD9E8D57} * c[2];
    c = {static_cast<std::uint32_t>(product1 >> 32) ^ c[1] ^ key0, static_cast<std::uint32_t>(product1),
         static_cast<std::uint32_t>(product0 >> 32) ^ c[3] ^ key1, static_cast<std::uint32_t>(product0)};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return c;
}

/// Mixes values into one stream number; different values give unrelated streams.
std::uint64_t mix(std::uint64_t a, std::uint64_t b);
/// A stream number for a name ("stages.2.blocks.0.drop_path", "shuffle"): FNV-1a, then mixed.
std::uint64_t stream_of(std::string_view name);

/// Uniform in [0, 1) with 24 bits from one word.
constexpr float uniform_from(std::uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

/// Reads the numbers of one (seed, stream) in order.
class Random {
 public:
  explicit Random(std::uint64_t seed, std::uint64_t stream = 0) : seed_(seed), stream_(stream) {}

  std::uint32_t next();
  /// Uniform in [0, 1), 53 bits.
  double uniform();
  double uniform(double low, double high) { return low + (high - low) * uniform(); }
  /// Uniform in {0, ..., n - 1}, without bias. Throws Error for n < 1.
  std::int64_t below(std::int64_t n);
  /// Standard normal (Box-Muller).
  double normal();

 private:
  std::uint64_t seed_, stream_;
  std::uint64_t index_ = 0;
  std::array<std::uint32_t, 4> words_{};
  int used_ = 4;
};

}  // namespace replk
