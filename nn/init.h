// Initial values of parameters.
#pragma once

#include <cstdint>

#include "core/tape.h"

namespace replk {

/// Uniform in [-bound, bound), numbers keyed by (seed, the parameter's name): adding a layer changes no
/// other.
void init_uniform(Parameter& parameter, double bound, std::uint64_t seed);

/// PyTorch's default for convolutions and linear layers: uniform with bound 1 / sqrt(fan_in), where fan_in is
/// the number of inputs of one output (He et al. 2015 with a = sqrt(5)).
void init_fan_in_uniform(Parameter& parameter, std::int64_t fan_in, std::uint64_t seed);

}  // namespace replk
