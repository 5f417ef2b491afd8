// The loop that all optimizers share on the CPU. Used inside optim/ only.
#pragma once

#include "core/parallel.h"
#include "optim/flat_parameters.h"

namespace replk {

inline constexpr std::int64_t kElementsPerThread = 1 << 15;

/// Calls f(range, begin, end) on all threads for pieces [begin, end) of the flat buffers that together are
/// the trainable ranges.
template <class F>
void for_trainable(const FlatParameters& parameters, const F& f) {
  for (const UpdateRange& range : parameters.trainable_ranges())
    parallel_for(range.end - range.begin, kElementsPerThread, [&](std::int64_t begin, std::int64_t end) {
      f(range, range.begin + begin, range.begin + end);
    });
}

}  // namespace replk
