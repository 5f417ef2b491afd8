// Runs a test once for each instruction set that this processor and this build have.
#pragma once

#include "ops/primitives/simd_targets.h"
#include "tests/support/catch.h"
// After simd_targets.h, which it must agree with.
#include <hwy/highway.h>
#include <hwy/targets.h>

namespace replk::test {

/// Calls f() with the Highway kernels restricted to each of their instruction sets in turn.
template <class F>
void for_each_instruction_set(const F& f) {
  struct Restore {
    ~Restore() { hwy::SetSupportedTargetsForTest(0); }
  } restore;
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    INFO("instruction set " << hwy::TargetName(target));
    f();
  }
}

}  // namespace replk::test
