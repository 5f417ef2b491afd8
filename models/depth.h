// How deep in the network a parameter is, for learning rates that depend on it.
#pragma once

#include <cstdint>
#include <string>

#include "models/config.h"

namespace replk {

/// How many groups depth_group divides the parameters of a network into: 14 for the published depths.
std::int64_t depth_groups(const RepLKNetConfig& config);

/// The group of a parameter by its name, from 0 at the images to depth_groups - 1 at the answer.
///
/// The stem is group 0. Four blocks (two RepLK blocks and two ConvFFN) make the next group, a stage's last
/// group perhaps fewer; a transition belongs to the last group of the stage before it. The final norm and the
/// head are the last group. For 2, 2, 18 and 2 layers that is the published rule: stages 0 and 1 with their
/// transitions 1 and 2; stage 2 from 3 to 11, transition 2 with it; stage 3 12; norm and head 13.
/// Throws Error for a name that is no parameter's. Source: published training code; other depths own.
std::int64_t depth_group(const RepLKNetConfig& config, const std::string& parameter);

}  // namespace replk
