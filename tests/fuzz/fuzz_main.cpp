// libFuzzer's entry; REPLK_FUZZ_TARGET is one of the functions of targets.h.
#include "tests/fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  replk::test::REPLK_FUZZ_TARGET(std::as_bytes(std::span(data, size)));
  return 0;
}
