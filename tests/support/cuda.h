// Tests that need a GPU: they run where there is one, and are counted where there is none.
#pragma once

#include <string>

namespace replk::test {

/// True when this build and this machine can run CUDA tests. Otherwise counts `what` as skipped, and with
/// REPLK_REQUIRE_CUDA=1 in the environment fails the test:  if (!cuda_or_skip("uploads")) return;
bool cuda_or_skip(const std::string& what);

/// Counts `what` as not tested on CUDA because of `reason`; with REPLK_REQUIRE_CUDA=1 fails the test.
void skip_cuda(const std::string& what, const std::string& reason);

/// "skipped on CUDA: 12 (no GPU is visible on this machine)", or "" when nothing was. main prints it last.
std::string skipped_on_cuda();

}  // namespace replk::test
