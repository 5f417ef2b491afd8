// Everything a fuzzer found interesting, once more.
#include <filesystem>

#include "tests/fuzz/targets.h"
#include "tests/io/hostile.h"

using namespace replk;
using namespace replk::test;

TEST_CASE("fuzz/replay") {
  for (const FuzzTarget& target : kFuzzTargets) {
    int files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(str("tests/fuzz/corpus/", target.name))) {
      INFO(entry.path());
      CHECK_NOTHROW(target.run(read_bytes(entry.path())));
      ++files;
    }
    INFO(target.name);
    CHECK(files > 0);
  }
}
