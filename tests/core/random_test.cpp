#include "core/random.h"

#include <cmath>
#include <set>

#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

TEST_CASE("core/random/philox_known_answers") {
  // The known-answer vectors of philox4x32-10 (Salmon et al. 2011): counter = {index low, high, stream low,
  // high}.
  using Words = std::array<std::uint32_t, 4>;
  CHECK(philox(0, 0, 0) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox(~0ull, ~0ull, ~0ull) == Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox(0x299f31d0a4093822ull, 0x0370734413198a2eull, 0x85a308d3243f6a88ull) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("core/random/moments") {
  Random random(3, 4);
  double sum = 0, squares = 0, normal = 0, normal_squares = 0;
  const int n = 200000;
  for (int i = 0; i < n; ++i) {
    const double u = random.uniform(), z = random.normal();
    CHECK((u >= 0 && u < 1));
    sum += u, squares += u * u, normal += z, normal_squares += z * z;
  }
  CHECK(std::abs(sum / n - 0.5) < 5 * std::sqrt(1.0 / 12 / n));
  CHECK(std::abs(squares / n - 1.0 / 3) < 5 * std::sqrt(4.0 / 45 / n));
  CHECK(std::abs(normal / n) < 5 / std::sqrt(n));
  CHECK(std::abs(normal_squares / n - 1) < 5 * std::sqrt(2.0 / n));
}

TEST_CASE("core/random/below_is_uniform_and_checked") {
  Random random(1);
  std::array<int, 6> counts{};
  for (int i = 0; i < 60000; ++i) ++counts[static_cast<std::size_t>(random.below(6))];
  for (const int count : counts) CHECK(std::abs(count - 10000) < 5 * std::sqrt(10000 * 5.0 / 6));
  check_error([&] { random.below(0); }, {"below", "0"});
}

TEST_CASE("core/random/streams_differ") {
  std::set<std::uint64_t> streams;
  for (int layer = 0; layer < 100; ++layer)
    for (std::uint64_t step = 0; step < 100; ++step)
      streams.insert(mix(stream_of("stages." + std::to_string(layer) + ".drop_path"), step));
  CHECK(streams.size() == 10000);
}
