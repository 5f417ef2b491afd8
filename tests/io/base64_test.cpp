#include "io/base64.h"

#include <vector>

#include "tests/support/catch.h"

namespace replk {

// The vectors of RFC 4648, section 10, and bytes above 127.
TEST_CASE("io/base64/by_the_standard") {
  const auto of = [](const std::string& text) {
    return base64(std::vector<std::uint8_t>(text.begin(), text.end()));
  };
  CHECK(of("").empty());
  CHECK(of("f") == "Zg==");
  CHECK(of("fo") == "Zm8=");
  CHECK(of("foo") == "Zm9v");
  CHECK(of("foob") == "Zm9vYg==");
  CHECK(of("fooba") == "Zm9vYmE=");
  CHECK(of("foobar") == "Zm9vYmFy");
  CHECK(base64(std::vector<std::uint8_t>{0xFB, 0xFF, 0xBF, 0x00}) == "+/+/AA==");
}

}  // namespace replk
