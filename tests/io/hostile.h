// Hostile files for the tests of io: bytes by hand, zip archives with any claim in them, and what a refusal
// must be.
#pragma once

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "core/error.h"
#include "tests/io/zip_bytes.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"

namespace replk::test {

using Bytes = std::vector<std::byte>;

inline Bytes bytes_of(const std::string& text) {
  const auto* first = reinterpret_cast<const std::byte*>(text.data());
  return {first, first + text.size()};
}

inline Bytes read_bytes(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  REQUIRE(stream);
  return bytes_of(std::string((std::istreambuf_iterator<char>(stream)), {}));
}

/// Expects f to throw a FileError whose message has every one of `parts`.
inline void check_refused(const std::function<void()>& f, const std::vector<std::string>& parts) {
  check_error(
      [&] {
        try {
          f();
        } catch (const FileError&) {
          throw;
        } catch (const std::exception& other) {
          FAIL("expected a FileError, got: " << other.what());
        }
      },
      parts);
}

}  // namespace replk::test
