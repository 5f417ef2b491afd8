#include "data/sampler.h"

#include <numeric>
#include <utility>

#include "core/error.h"

namespace replk {

std::vector<std::int64_t> permutation(std::int64_t n, Random random) {
  check(n >= 0, "permutation: a count of at least 0 expected, got ", n, ".");
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  for (std::int64_t i = n - 1; i > 0; --i)
    std::swap(order[static_cast<std::size_t>(i)], order[static_cast<std::size_t>(random.below(i + 1))]);
  return order;
}

std::vector<std::int64_t> epoch_order(std::int64_t n, bool shuffle, std::uint64_t seed, std::int64_t epoch) {
  if (shuffle)
    return permutation(n, Random(seed, mix(stream_of("shuffle"), static_cast<std::uint64_t>(epoch))));
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  return order;
}

Random sample_random(std::uint64_t seed, std::int64_t epoch, std::int64_t index) {
  static const std::uint64_t stream = stream_of("augment");
  const std::uint64_t in_epoch = mix(stream, static_cast<std::uint64_t>(epoch));
  return Random(seed, mix(in_epoch, static_cast<std::uint64_t>(index)));
}

}  // namespace replk
