#include "core/random.h"

#include <cmath>
#include <numbers>

#include "core/error.h"

namespace replk {

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  const auto words = philox(a, 0x6d6978u, b);
  return (std::uint64_t{words[1]} << 32) | words[0];
}

std::uint64_t stream_of(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return mix(hash, name.size());
}

std::uint32_t Random::next() {
  if (used_ == 4) {
    words_ = philox(seed_, stream_, index_++);
    used_ = 0;
  }
  return words_[used_++];
}

double Random::uniform() {
  const std::uint64_t high = next() >> 5, low = next() >> 6;
  return static_cast<double>(high * 67108864u + low) * 0x1p-53;
}

std::int64_t Random::below(std::int64_t n) {
  check(n >= 1, "Random::below: n must be at least 1, got ", n, ".");
  const auto range = static_cast<std::uint64_t>(n);
  const std::uint64_t rejected_from =
      UINT64_MAX - UINT64_MAX % range;  // a multiple of n: below it no value is favoured
  while (true) {
    const std::uint64_t high = next(), low = next();
    const std::uint64_t value = (high << 32) | low;
    if (value < rejected_from) return static_cast<std::int64_t>(value % range);
  }
}

double Random::normal() {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));  // 1 - u is never 0
  return radius * std::cos(2.0 * std::numbers::pi * uniform());
}

}  // namespace replk
