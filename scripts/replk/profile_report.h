// Where the time of a run went, by kind of operator.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/profile.h"

namespace replk {

/// Seconds by group, largest first, then "other": what is left of `total`. Groups: depth-wise convolution,
/// 1x1 convolution, other convolution, normalisation, activations, waiting for data, optimizer.
std::vector<std::pair<std::string, double>> profile_groups(
    const std::map<std::string, Profile::Entry>& entries, double total);
/// A table of them with seconds and shares.
std::string profile_report(const std::map<std::string, Profile::Entry>& entries, double total);

}  // namespace replk
