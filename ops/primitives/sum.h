// Sums of many terms whose rounding error grows like log n instead of n, with the same bits for any number of
// threads. No autograd.
#pragma once

#include <cstdint>
#include <vector>

#include "core/parallel.h"

namespace replk::cpu {

/// term(begin) + ... + term(end - 1): eight running sums for up to 256 terms (which the compiler turns into
/// vector additions), halves of the range above that.
template <class T, class Term>
T pairwise_sum(std::int64_t begin, std::int64_t end, const Term& term) {
  constexpr std::int64_t kLanes = 8, kLeaf = 256;
  if (end - begin > kLeaf) {
    const std::int64_t middle = begin + (end - begin) / (2 * kLanes) * kLanes;
    return pairwise_sum<T>(begin, middle, term) + pairwise_sum<T>(middle, end, term);
  }
  T lanes[kLanes] = {};
  std::int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes)
    for (std::int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += term(i + lane);
  for (std::int64_t lane = 0; i < end; ++i, ++lane) lanes[lane] += term(i);
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

/// term(0) + ... + term(n - 1) by all threads: fixed blocks, whose sums are added pairwise.
template <class T, class Term>
T threaded_sum(std::int64_t n, const Term& term) {
  constexpr std::int64_t kBlock = 1 << 14;
  const std::int64_t blocks = (n + kBlock - 1) / kBlock;
  if (blocks <= 1) return pairwise_sum<T>(0, n, term);
  std::vector<T> sums(static_cast<std::size_t>(blocks));
  parallel_for(blocks, 2, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; ++b)
      sums[static_cast<std::size_t>(b)] = pairwise_sum<T>(b * kBlock, std::min((b + 1) * kBlock, n), term);
  });
  return pairwise_sum<T>(0, blocks, [&](std::int64_t b) { return sums[static_cast<std::size_t>(b)]; });
}

}  // namespace replk::cpu
