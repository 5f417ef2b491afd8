// What is fuzzed: one function for each format read from outside.
#pragma once

#include <array>
#include <cstddef>
#include <span>

namespace replk::test {

/// Reads the bytes as a file of the format and looks at every element of what comes out. A FileError is fine;
/// anything else that is thrown, and whatever a sanitizer sees, is a finding.
void fuzz_safetensors(std::span<const std::byte> bytes);
void fuzz_pytorch(std::span<const std::byte> bytes);
/// The pickle machine alone: inside an archive a fuzzer seldom gets past the checksums.
void fuzz_pickle(std::span<const std::byte> bytes);
/// The bytes as the pickle of a PyTorch checkpoint that is sound otherwise, with two storages of 64 bytes.
void fuzz_pytorch_pickle(std::span<const std::byte> bytes);

struct FuzzTarget {
  const char* name;  // of the folder in tests/fuzz/corpus, and of the program fuzz_<name>
  void (*run)(std::span<const std::byte>);
};
inline constexpr std::array<FuzzTarget, 4> kFuzzTargets{{{"safetensors", fuzz_safetensors},
                                                         {"pytorch", fuzz_pytorch},
                                                         {"pickle", fuzz_pickle},
                                                         {"pytorch_pickle", fuzz_pytorch_pickle}}};

}  // namespace replk::test
