// Progress: how far a long job is, on one line that is written over, or on a few plain lines.
#pragma once

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

namespace replk {

/// On a terminal one line is rewritten a few times a second; elsewhere (a log file, a pipe) a plain line
/// appears every ten seconds at most, the first one after ten.
///
///     Progress progress;
///     for (...) progress.show({"epoch 3/10", "ETA 3m12s", "812 images/s"});
///     progress.print("epoch 3: ...");  // stays
class Progress {
 public:
  struct Options {
    std::ostream* out = nullptr;         // null: standard error
    bool terminal = false;               // rewrite one line
    std::function<int()> width = {};     // columns of the terminal; absent or 0: unknown, nothing is cut
    std::function<double()> clock = {};  // seconds; absent: the steady clock
    double terminal_interval = 0.1;      // at least this long between two lines
    double plain_interval = 10;
  };

  /// Standard error, a terminal if it is one (and TERM is not "dumb"), as wide as it is when a line is drawn.
  static Options standard_error();
  /// The same for standard output.
  static Options standard_output();

  Progress() : Progress(standard_error()) {}
  explicit Progress(Options options);
  /// Removes the line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  bool terminal() const { return options_.terminal; }
  /// Shows the parts side by side if it is time to. What matters most comes first: on a narrow terminal
  /// parts are left out from the end.
  void show(const std::vector<std::string>& parts);
  /// Writes a whole line (or several) that stays, above the one that is rewritten.
  void print(const std::string& line);
  /// Removes the line from the terminal, before someone else writes there.
  void clear();

 private:
  std::string fitted(const std::vector<std::string>& parts) const;

  Options options_;
  double last_;
  bool drawn_ = false;  // a line stands on the terminal, without its end
};

/// How much longer a job takes, from what it took so far.
class RemainingTime {
 public:
  /// `clock` as in Progress::Options. `done` of the work were done before (a resumed run) and cost nothing.
  explicit RemainingTime(double total, double done = 0, std::function<double()> clock = {});
  double elapsed() const;
  /// Seconds; NaN as long as nothing is done.
  double seconds(double done) const;
  /// "ETA 3m12s"
  std::string text(double done) const;

 private:
  std::function<double()> clock_;
  double total_, first_, start_;
};

/// What to call with (done, all) images: shows "512/3000 images", the time that remains and the speed since
/// now. `progress` must outlive it.
std::function<void(std::int64_t, std::int64_t)> count_images(Progress& progress);

}  // namespace replk
