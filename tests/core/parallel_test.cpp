#include "core/parallel.h"

#if defined(__linux__)
#include <sched.h>
#endif

#include <atomic>
#include <thread>
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

#if defined(__linux__)
TEST_CASE("core/parallel_for/workers_keep_off_the_caller's_processor") {
  const Threads scope(2);
  cpu_set_t before;
  CPU_ZERO(&before);
  REQUIRE(sched_getaffinity(0, sizeof(before), &before) == 0);
  if (CPU_COUNT(&before) < 2) return;
  const auto only = [](int cpu) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    return sched_setaffinity(0, sizeof(one), &one);
  };
  parallel_for(2, 1, [](std::int64_t, std::int64_t) {});  // the pool is made while all are allowed
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &before)) continue;
    // Caller and worker are brought to one processor; then the worker has to go.
    REQUIRE(only(cpu) == 0);
    const auto caller = std::this_thread::get_id();
    parallel_for(2, 1, [&](std::int64_t, std::int64_t) {
      if (std::this_thread::get_id() != caller) only(cpu);
    });
    int found = -1;
    parallel_for(2, 1, [&](std::int64_t, std::int64_t) {
      if (std::this_thread::get_id() != caller) found = sched_getcpu();
    });
    REQUIRE(sched_setaffinity(0, sizeof(before), &before) == 0);
    CHECK(found != cpu);
    CHECK(found >= 0);
  }
}
#endif

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
