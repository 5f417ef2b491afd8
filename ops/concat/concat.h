// concat: puts maps on top of each other, along the channels.
#pragma once

#include "core/tape.h"

namespace replk {

/// y = the rows of inputs[0], then those of inputs[1], ... along the outermost axis
///
/// Inputs (C_i, N, H, W), or any rank of at least 1, alike but for the outermost axis, of one dtype; y
/// (sum of C_i, N, H, W). Every dtype and device. Saves nothing; each gradient is a slice of dy, shared where
/// the tape allows. Throws Error when there are no inputs or they do not fit. Source: own.
Variable concat(const std::vector<Variable>& inputs);

}  // namespace replk
