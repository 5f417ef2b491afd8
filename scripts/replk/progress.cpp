#include "scripts/replk/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <limits>
#include <string_view>

#include "scripts/replk/text.h"

namespace replk {
namespace {

constexpr const char* kEraseLine = "\r\x1b[K";
constexpr const char* kGap = "  ";

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

bool is_terminal(int descriptor) {
  const char* kind = std::getenv("TERM");
  return isatty(descriptor) == 1 && kind && std::string_view(kind) != "dumb";
}

int terminal_width(int descriptor) {
  winsize size{};
  return ioctl(descriptor, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

Progress::Options options_for(int descriptor, std::ostream& out) {
  return {.out = &out,
          .terminal = is_terminal(descriptor),
          .width = [descriptor] { return terminal_width(descriptor); },
          .clock = {}};
}

}  // namespace

Progress::Options Progress::standard_error() { return options_for(STDERR_FILENO, std::cerr); }
Progress::Options Progress::standard_output() { return options_for(STDOUT_FILENO, std::cout); }

Progress::Progress(Options options) : options_(std::move(options)) {
  if (!options_.out) options_.out = &std::cerr;
  if (!options_.clock) options_.clock = steady_seconds;
  // A terminal gets its first line at once.
  last_ = options_.terminal ? -std::numeric_limits<double>::infinity() : options_.clock();
}

Progress::~Progress() { clear(); }

void Progress::show(const std::vector<std::string>& parts) {
  const double now = options_.clock();
  if (now - last_ < (options_.terminal ? options_.terminal_interval : options_.plain_interval)) return;
  last_ = now;
  if (options_.terminal)
    *options_.out << kEraseLine << fitted(parts);
  else
    *options_.out << join(parts, kGap) << '\n';
  options_.out->flush();
  drawn_ = options_.terminal;
}

void Progress::print(const std::string& line) {
  clear();
  *options_.out << line << '\n';
  options_.out->flush();
}

void Progress::clear() {
  if (!drawn_) return;
  *options_.out << kEraseLine;
  options_.out->flush();
  drawn_ = false;
}

// The last column stays free: a character there makes some terminals begin a new line.
std::string Progress::fitted(const std::vector<std::string>& parts) const {
  const int width = options_.width ? options_.width() : 0;
  if (width <= 1) return join(parts, kGap);
  const auto room = static_cast<std::size_t>(width - 1);
  std::string line;
  for (const std::string& part : parts) {
    const std::string longer = line.empty() ? part : line + kGap + part;
    if (text_columns(longer) > room) break;
    line = longer;
  }
  return line.empty() && !parts.empty() ? cut_text(parts.front(), room) : line;
}

RemainingTime::RemainingTime(double total, double done, std::function<double()> clock)
    : clock_(clock ? std::move(clock) : steady_seconds), total_(total), first_(done), start_(clock_()) {}

double RemainingTime::elapsed() const { return clock_() - start_; }

double RemainingTime::seconds(double done) const {
  if (done <= first_) return std::numeric_limits<double>::quiet_NaN();
  return elapsed() * std::max(0.0, total_ - done) / (done - first_);
}

std::string RemainingTime::text(double done) const { return "ETA " + format_duration(seconds(done)); }

std::function<void(std::int64_t, std::int64_t)> count_images(Progress& progress) {
  return [&progress, start = RemainingTime(1)](std::int64_t done, std::int64_t of) {
    const double share = static_cast<double>(done) / static_cast<double>(of);
    progress.show({fmt::format("{}/{} images", done, of), start.text(share),
                   fmt::format("{:.0f} images/s", static_cast<double>(done) / start.elapsed())});
  };
}

}  // namespace replk
