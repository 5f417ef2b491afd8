#include "io/event_file.h"

#include <sys/resource.h>

#include <chrono>
#include <csignal>

#include "core/error.h"
#include "tests/scripts/process.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"
#include "tests/support/event_reader.h"

using namespace replk;
using namespace replk::test;
namespace fs = std::filesystem;

namespace {

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// As on a disk with so many bytes left for every file.
class SmallDisk {
 public:
  explicit SmallDisk(std::uint64_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit small{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
  }
  ~SmallDisk() { setrlimit(RLIMIT_FSIZE, &before_); }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

 private:
  rlimit before_{};
};

}  // namespace

TEST_CASE("io/event_file/scalars_come_back") {
  REQUIRE(crc32c("123456789") == 0xE3069283);  // the value that every description of CRC-32C gives
  const TemporaryFolder folder;
  const double before = seconds_now();
  EventFile file(folder.path(), 7);
  file.add(7, {{"loss/training", 0.1}, {"step/lr", 1e-30}, {"a \"tag\" \xc3\xa9", -3}});
  file.add(std::int64_t{1} << 40, {{"loss/training", 2}});
  file.add(9, {{std::string(300, 'x'), 1}});  // lengths of more than a byte
  file.sync();
  const auto events = read_events(read_text(file.path()));
  REQUIRE(events.size() == 5);
  CHECK(events[0].version == "brain.Event:2");
  CHECK(events[0].step == 0);
  CHECK_FALSE(events[0].session_start);
  CHECK(events[1].session_start);
  CHECK(events[1].step == 7);
  CHECK(events[2].step == 7);
  CHECK(events[2].scalars == std::map<std::string, float>{
                                 {"loss/training", 0.1F}, {"step/lr", 1e-30F}, {"a \"tag\" \xc3\xa9", -3.F}});
  CHECK(events[3].step == std::int64_t{1} << 40);
  CHECK(events[3].scalars == std::map<std::string, float>{{"loss/training", 2.F}});
  CHECK(events[4].scalars.contains(std::string(300, 'x')));
  for (const Event& event : events) {
    CHECK(event.wall_time >= before);
    CHECK(event.wall_time <= seconds_now());
  }
}

TEST_CASE("io/event_file/a_new_file_sorts_after_all_others") {
  const TemporaryFolder folder;
  std::vector<fs::path> made;
  for (int i = 0; i < 3; ++i) made.push_back(EventFile(folder.path(), 1).path());  // in one second
  const std::string future = folder / "events.out.tfevents.4102444800.elsewhere.1";
  write_text(future, "x");
  made.push_back(future);
  made.push_back(EventFile(folder.path(), 1).path());
  CHECK(event_files(folder.path()) == made);
  CHECK(read_text(future) == "x");
  write_text(folder / "events.out.tfevents.9223372036854775807.x", "");
  write_text(folder / "events.out.tfevents.x", "");
  CHECK_NOTHROW(EventFile(folder.path(), 1));
  // "<seconds>.<host>.<process>" after the prefix that TensorBoard looks for.
  CHECK(made[0].filename().string().ends_with(str(".", getpid())));
}

TEST_CASE("io/event_file/a_full_disk_leaves_whole_records") {
  const TemporaryFolder folder;
  EventFile file(folder.path(), 1);
  std::int64_t step = 0;
  {
    const SmallDisk disk(1000);
    check_error(
        [&] {
          while (step < 1000) file.add(++step, {{"loss/training", 1}});
        },
        {file.path().string(), "writing an event failed", "too large"});
  }
  CHECK(step > 5);
  CHECK(step < 1000);
  auto events = read_events(read_text(file.path()));
  CHECK(events.back().step == step - 1);
  // With space again it goes on behind them.
  file.add(step, {{"loss/training", 1}});
  events = read_events(read_text(file.path()));
  CHECK(events.back().step == step);
  CHECK(std::cmp_equal(events.size(), 2 + step));
  const SmallDisk full(10);
  CHECK_THROWS_AS(EventFile(folder.path(), 1), FileError);
  CHECK(event_files(folder.path()).size() == 1);
}

TEST_CASE("io/event_file/a_folder_that_is_not_there") {
  const TemporaryFolder folder;
  check_error([&] { EventFile(folder / "none", 1); }, {"none", "events.out.tfevents.", "creating"});
}
