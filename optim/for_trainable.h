// The loop that all optimizers share. Used inside optim/ only.
#pragma once

#include <algorithm>

#include "core/parallel.h"
#include "optim/flat_parameters.h"

namespace replk {

inline constexpr std::int64_t kElementsPerThread = 1 << 15;

/// Calls f(segment, begin, end) on all threads for pieces [begin, end) of the flat buffers that together are
/// the segments `wanted`. Threads get equal numbers of elements, whatever the sizes of the parameters are.
template <class Wanted, class F>
void for_segments(const FlatParameters& parameters, const Wanted& wanted, const F& f) {
  const auto segments = parameters.segments();
  parallel_for(parameters.data().numel(), kElementsPerThread, [&](std::int64_t begin, std::int64_t end) {
    auto segment = std::partition_point(segments.begin(), segments.end(),
                                        [begin](const auto& s) { return s.end <= begin; });
    for (; segment != segments.end() && segment->begin < end; ++segment)
      if (wanted(*segment)) f(*segment, std::max(begin, segment->begin), std::min(end, segment->end));
  });
}

/// The same for the parameters that are not frozen.
template <class F>
void for_trainable(const FlatParameters& parameters, const F& f) {
  for_segments(
      parameters, [](const auto& segment) { return segment.parameter->trainable; }, f);
}

}  // namespace replk
