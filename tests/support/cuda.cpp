#include "tests/support/cuda.h"

#include <cstdlib>
#include <map>

#include "core/device.h"
#include "core/error.h"
#include "tests/support/catch.h"

namespace replk::test {
namespace {

std::map<std::string, int>& skipped() {
  static std::map<std::string, int> by_reason;
  return by_reason;
}

bool required() {
  const char* value = std::getenv("REPLK_REQUIRE_CUDA");
  return value && std::string(value) == "1";
}

}  // namespace

bool cuda_or_skip(const std::string& what) {
  if (cuda_available()) return true;
  skip_cuda(what, cuda_unavailable_reason());
  return false;
}

void skip_cuda(const std::string& what, const std::string& reason) {
  ++skipped()[reason];
  INFO(what << " was not tested on CUDA: " << reason << ". REPLK_REQUIRE_CUDA=1 makes that a failure.");
  CHECK_FALSE(required());
}

std::string skipped_on_cuda() {
  int count = 0;
  std::string reasons;
  for (const auto& [reason, times] : skipped()) {
    count += times;
    reasons += (reasons.empty() ? "" : "; ") + reason;
  }
  return count > 0 ? str("skipped on CUDA: ", count, " (", reasons, ")") : "";
}

}  // namespace replk::test
