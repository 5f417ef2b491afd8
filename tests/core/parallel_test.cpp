#include "core/parallel.h"

#include <atomic>
#include <vector>

#include "core/profile.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

namespace {
// Sets the number of threads for the length of a test.
struct Threads {
  int before = num_threads();
  explicit Threads(int threads) { set_num_threads(threads); }
  ~Threads() { set_num_threads(before); }
};
}  // namespace

TEST_CASE("core/parallel_for/covers_every_index_once") {
  for (const int threads : {1, 2, 5}) {
    const Threads scope(threads);
    for (const std::int64_t n : {0, 1, 2, 7, 100})
      for (const std::int64_t grain : {1, 3, 1000}) {
        std::vector<std::atomic<int>> hits(static_cast<std::size_t>(n));
        std::atomic<int> pieces{0};
        parallel_for(n, grain, [&](std::int64_t begin, std::int64_t end) {
          ++pieces;
          for (std::int64_t i = begin; i < end; ++i) ++hits[static_cast<std::size_t>(i)];
        });
        for (const auto& hit : hits) CHECK(hit == 1);
        CHECK(pieces <= std::max<std::int64_t>(1, n / grain));
        std::atomic<int> total{0};
        parallel_for_each(n, [&](std::int64_t) { ++total; });
        CHECK(total == n);
      }
  }
}

TEST_CASE("core/parallel_for/exceptions_reach_the_caller") {
  const Threads scope(3);
  check_error(
      [] {
        parallel_for(9, 1, [](std::int64_t begin, std::int64_t) { check(begin == 0, "piece ", begin); });
      },
      {"piece"});
  check_error([] { parallel_for_each(9, [](std::int64_t i) { check(i != 4, "item ", i); }); }, {"item 4"});
}

TEST_CASE("core/parallel_for/nested_calls_do_not_multiply_threads") {
  const Threads scope(3);
  std::atomic<int> pieces{0};
  parallel_for(3, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      parallel_for(100, 1, [&](std::int64_t, std::int64_t) { ++pieces; });
  });
  CHECK(pieces == 3);
}

TEST_CASE("core/parallel_for/errors") {
  check_error([] { set_num_threads(0); }, {"at least 1", "0"});
}

TEST_CASE("core/profile/counts_only_when_enabled") {
  { const ProfileScope off("off"); }
  Profile::enable(true);
  { const ProfileScope on("on"); }
  { const ProfileScope on("on"); }
  const auto entries = Profile::entries();
  Profile::enable(false);
  CHECK(entries.size() == 1);
  CHECK(entries.at("on").calls == 2);
  CHECK(entries.at("on").seconds >= 0);
}
