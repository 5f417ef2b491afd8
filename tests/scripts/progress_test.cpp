// What a long job says about itself, on a terminal and in a log file; numbers as people read them; tables.
#include "scripts/replk/progress.h"

#include <cmath>
#include <sstream>

#include "core/error.h"
#include "scripts/replk/table.h"
#include "scripts/replk/text.h"
#include "tests/support/catch.h"

namespace replk {
namespace {

constexpr const char* kErase = "\r\x1b[K";

// A progress line on a string instead of a terminal, with a clock that we turn.
struct Screen {
  std::ostringstream out;
  double now = 100;
  int width = 80;

  Progress::Options options(bool terminal) {
    return {.out = &out,
            .terminal = terminal,
            .width = [this] { return width; },
            .clock = [this] { return now; }};
  }
  std::string take() {
    std::string text = out.str();
    out.str("");
    return text;
  }
};

}  // namespace

TEST_CASE("scripts/progress/terminal_rewrites_one_line") {
  Screen screen;
  {
    Progress progress(screen.options(true));
    progress.show({"epoch 1/3", "loss 2.31"});
    CHECK(screen.take() == std::string(kErase) + "epoch 1/3  loss 2.31");
    screen.now += 0.05;  // too early for another line
    progress.show({"epoch 1/3", "loss 2.30"});
    CHECK(screen.take().empty());
    screen.now += 0.06;
    progress.show({"epoch 1/3", "loss 2.29"});
    CHECK(screen.take() == std::string(kErase) + "epoch 1/3  loss 2.29");
    progress.print("epoch 1 done");
    CHECK(screen.take() == std::string(kErase) + "epoch 1 done\n");
    progress.print("and more");  // nothing to remove any more
    CHECK(screen.take() == "and more\n");
    screen.now += 1;
    progress.show({"epoch 2/3"});
    screen.take();
  }
  CHECK(screen.take() == kErase);  // nothing is left of the line at the end
}

TEST_CASE("scripts/progress/plain_lines_are_rare") {
  Screen screen;
  {
    Progress progress(screen.options(false));
    for (int i = 0; i < 250; ++i) {  // 25 seconds
      progress.show({"step " + std::to_string(i), "loss"});
      screen.now += 0.1;
    }
    std::istringstream lines(screen.take());
    std::string first, second, third;
    std::getline(lines, first);
    std::getline(lines, second);
    CHECK(first.starts_with("step 10"));
    CHECK(first.ends_with("  loss"));
    CHECK(second.starts_with("step 20"));
    CHECK_FALSE(std::getline(lines, third));
    progress.print("epoch 1 done");
    CHECK(screen.take() == "epoch 1 done\n");
  }
  CHECK(screen.take().empty());
}

TEST_CASE("scripts/progress/narrow_terminals") {
  Screen screen;
  Progress progress(screen.options(true));
  const auto shown = [&](int width, const std::vector<std::string>& parts) {
    screen.width = width;
    screen.now += 1;
    progress.show(parts);
    return screen.take().substr(std::string(kErase).size());
  };
  const std::vector<std::string> parts = {"epoch 3/10", "ETA 3m12s", "812 images/s"};
  CHECK(shown(80, parts) == "epoch 3/10  ETA 3m12s  812 images/s");
  CHECK(shown(36, parts) == "epoch 3/10  ETA 3m12s  812 images/s");
  CHECK(shown(35, parts) == "epoch 3/10  ETA 3m12s");  // the last column stays free
  CHECK(shown(12, parts) == "epoch 3/10");
  CHECK(shown(6, parts) == "epoc…");
  CHECK(shown(0, parts) == "epoch 3/10  ETA 3m12s  812 images/s");  // width unknown
  CHECK(shown(20, {}).empty());
}

TEST_CASE("scripts/progress/remaining_time") {
  double now = 5;
  const RemainingTime remaining(100, 20, [&] { return now; });  // 20 of 100 were done before
  CHECK(std::isnan(remaining.seconds(20)));
  CHECK(remaining.text(20) == "ETA ?");
  now += 10;
  CHECK(remaining.elapsed() == Approx(10));
  CHECK(remaining.seconds(40) == Approx(30));  // 20 took 10 s, 60 are left
  CHECK(remaining.text(40) == "ETA 30s");
  CHECK(remaining.seconds(100) == Approx(0));
}

TEST_CASE("scripts/progress/counting_images") {
  Screen screen;
  Progress progress(screen.options(true));
  const auto count = count_images(progress);
  count(512, 3000);
  CHECK(screen.take().starts_with(kErase + std::string("512/3000 images  ETA ")));
}

TEST_CASE("scripts/text/durations") {
  CHECK(format_duration(0) == "0.0s");
  CHECK(format_duration(9.94) == "9.9s");
  CHECK(format_duration(9.96) == "10s");
  CHECK(format_duration(59.4) == "59s");
  CHECK(format_duration(59.6) == "1m00s");
  CHECK(format_duration(192) == "3m12s");
  CHECK(format_duration(3599.7) == "1h00m");
  CHECK(format_duration(3900) == "1h05m");
  CHECK(format_duration(183600) == "2d03h");
  CHECK(format_duration(-1) == "?");
  CHECK(format_duration(NAN) == "?");
  CHECK(format_duration(INFINITY) == "?");
}

TEST_CASE("scripts/text/numbers") {
  CHECK(format_count(0) == "0");
  CHECK(format_count(999) == "999");
  CHECK(format_count(1000) == "1,000");
  CHECK(format_count(79862248) == "79,862,248");
  CHECK(format_count(-123456) == "-123,456");
  CHECK(format_si(982) == "982");
  CHECK(format_si(0.5) == "0.50");
  CHECK(format_si(999.4) == "999");
  CHECK(format_si(999.6) == "1.00 k");
  CHECK(format_si(15346) == "15.3 k");
  CHECK(format_si(4570000) == "4.57 M");
  CHECK(format_si(15.4e9) == "15.4 G");
  CHECK(format_bytes(812) == "812 B");
  CHECK(format_bytes(1300000) == "1.30 MB");
  CHECK(format_percent(0.91344) == "91.34 %");
  CHECK(format_percent(1, 0) == "100 %");
  CHECK(format_percent(NAN) == "-");
}

TEST_CASE("scripts/text/characters") {
  CHECK(text_columns("Straße…") == 7);
  CHECK(cut_text("Straße", 6) == "Straße");
  CHECK(cut_text("Straßen", 6) == "Straß…");
  CHECK(cut_text("abc", 1) == "…");
  CHECK(cut_text("abc", 0).empty());
  CHECK(printable("a\nb\x1b[31m\x7f") == "a?b?[31m?");
}

TEST_CASE("scripts/table/columns_are_aligned") {
  Table table({{"layer"}, {"parameters", Table::Align::right}, {"note"}});
  table.add({"stem", "1,234", "é"});
  table.add({"a longer one", "5"});
  table.add_rule();
  table.add({"total", "1,239,000,000", "x"});
  CHECK(table.text() ==
        "layer            parameters  note\n"
        "stem                  1,234  é\n"
        "a longer one              5\n"
        "---------------------------------\n"
        "total         1,239,000,000  x\n");
  CHECK_THROWS_AS(table.add({"1", "2", "3", "4"}), Error);
}

}  // namespace replk
