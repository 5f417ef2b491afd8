#define CATCH_CONFIG_RUNNER
#if __has_include(<catch2/catch_session.hpp>)
#include <catch2/catch_session.hpp>
#else
#include <catch2/catch.hpp>
#endif

#include <iostream>

#include "tests/support/cuda.h"

int main(int argc, char** argv) {
  const int result = Catch::Session().run(argc, argv);
  if (const std::string line = replk::test::skipped_on_cuda(); !line.empty()) std::cout << line << '\n';
  return result;
}
