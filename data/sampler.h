// The order in which an epoch visits the samples.
#pragma once

#include <cstdint>
#include <vector>

#include "core/random.h"

namespace replk {

/// 0, ..., n - 1 in random order, each order equally likely. Source: Fisher and Yates, Durstenfeld 1964.
std::vector<std::int64_t> permutation(std::int64_t n, Random random);

/// The order of epoch `epoch`: a permutation keyed by (seed, epoch), or 0, 1, ... without `shuffle`.
std::vector<std::int64_t> epoch_order(std::int64_t n, bool shuffle, std::uint64_t seed, std::int64_t epoch);

/// The random numbers for augmenting one sample in one epoch, keyed by nothing else.
Random sample_random(std::uint64_t seed, std::int64_t epoch, std::int64_t index);

}  // namespace replk
