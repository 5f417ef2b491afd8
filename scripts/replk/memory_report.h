// An estimate of memory as text.
#pragma once

#include <string>

#include "scripts/replk/memory_estimate.h"

namespace replk {

/// Tables of what a training step with these options takes, part by part, and an inference; the largest
/// layers; what a run takes besides. Begins with an empty line.
std::string memory_report(const MemoryQuestion& question, const TrainOptions& options);

}  // namespace replk
