// Values of parameters: the initial ones, and given ones.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tape.h"

namespace replk {

/// Uniform in [-bound, bound), numbers keyed by (seed, the parameter's name): adding a layer changes no
/// other.
void init_uniform(Parameter& parameter, double bound, std::uint64_t seed);

/// PyTorch's default for convolutions and linear layers: uniform with bound 1 / sqrt(fan_in), where fan_in is
/// the number of inputs of one output (He et al. 2015 with a = sqrt(5)).
void init_fan_in_uniform(Parameter& parameter, std::int64_t fan_in, std::uint64_t seed);

/// Writes `values`, one for each element, in the parameter's dtype. Throws Error when their count differs.
void assign(Parameter& parameter, const std::vector<double>& values);

}  // namespace replk
