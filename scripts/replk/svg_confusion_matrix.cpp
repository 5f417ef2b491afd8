#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "scripts/replk/svg.h"
#include "scripts/replk/svg_chart.h"
#include "scripts/replk/text.h"

namespace replk {
namespace {

constexpr const char* kInk = svg_colours::kInk.light;
constexpr const char* kSoftInk = svg_colours::kSoftInk.light;
constexpr const char* kGrid = svg_colours::kGrid.light;
constexpr std::size_t kLongestName = 24;
constexpr double kTitleHeight = 76;     // title, and a line below it
constexpr double kSmallestLabel = 9;    // cells smaller than this have no names beside them
constexpr double kSmallestNumber = 24;  // nor numbers inside

class Matrix {
 public:
  Matrix(const std::vector<std::string>& classes, std::span<const std::int64_t> counts)
      : n_(classes.size()), counts_(counts) {
    const auto n = static_cast<double>(std::max<std::size_t>(n_, 1));
    cell_ = n <= 12 ? 46 : std::clamp(720 / n, 1.0, 40.0);
    font_ = std::clamp(0.8 * cell_, 8.0, 12.0);
    double longest = 0;
    for (const std::string& name : classes) {
      names_.push_back(cut_text(printable(name), kLongestName));
      longest = std::max(longest, Svg::text_width(names_.back(), font_));
    }
    const bool named = cell_ >= kSmallestLabel;
    left_ = 48 + (named ? longest : 0);
    top_ = kTitleHeight + 28 + (named ? 0.75 * longest : 0);
    right_ = std::max(72.0, named ? 0.75 * longest - cell_ / 2 + 16 : 0.0);
  }

  std::string draw(const std::string& title) const {
    const double side = cell_ * static_cast<double>(n_);
    Svg svg(std::max(left_ + side + right_, 480.0), top_ + side + 28,
            fmt::format("Confusion matrix, {}: {}", title, subtitle()));
    svg.text(24, 36, title, {.size = 19, .colour = kInk, .bold = true});
    svg.text(24, 58, subtitle(), {.size = 13, .colour = kSoftInk});
    for (std::size_t row = 0; row < n_; ++row) {
      for (std::size_t column = 0; column < n_; ++column) draw_cell(svg, row, column);
      if (cell_ >= kSmallestLabel) draw_names(svg, row);
    }
    // A frame; inside it, lines between the cells where they are large enough.
    for (std::size_t i = 0; i <= n_; ++i) {
      if (cell_ < kSmallestLabel && i != 0 && i != n_) continue;
      const double at = cell_ * static_cast<double>(i);
      svg.line({left_, top_ + at}, {left_ + side, top_ + at}, kGrid);
      svg.line({left_ + at, top_}, {left_ + at, top_ + side}, kGrid);
    }
    svg.text(24, top_ + side / 2, "true class", {.size = 13, .anchor = "middle", .rotate = -90});
    svg.text(left_ + side / 2, top_ + side + 20, "predicted class", {.size = 13, .anchor = "middle"});
    return svg.finish();
  }

 private:
  std::int64_t count(std::size_t row, std::size_t column) const { return counts_[row * n_ + column]; }
  std::int64_t row_sum(std::size_t row) const {
    std::int64_t sum = 0;
    for (std::size_t column = 0; column < n_; ++column) sum += count(row, column);
    return sum;
  }
  double share(std::size_t row, std::size_t column) const {
    const std::int64_t sum = row_sum(row);
    return sum > 0 ? static_cast<double>(count(row, column)) / static_cast<double>(sum) : 0;
  }

  std::string subtitle() const {
    std::int64_t right = 0, all = 0;
    for (std::size_t row = 0; row < n_; ++row) {
      right += count(row, row);
      all += row_sum(row);
    }
    if (all == 0) return "no samples";
    return fmt::format("{} of {} right: {}", format_count(right), format_count(all),
                       format_percent(static_cast<double>(right) / static_cast<double>(all)));
  }

  void draw_cell(Svg& svg, std::size_t row, std::size_t column) const {
    if (count(row, column) == 0) return;
    constexpr const char *kRight = "#1d63c4", *kWrong = "#dc5014";
    // The root makes rare mistakes visible.
    const double depth = row == column ? share(row, column) : std::sqrt(share(row, column));
    const double x = left_ + cell_ * static_cast<double>(column), y = top_ + cell_ * static_cast<double>(row);
    // Opacity, so that a dark page shines through where a white one does.
    svg.rect(x, y, cell_, cell_, row == column ? kRight : kWrong,
             fmt::format("{} taken for {}: {} ({})", names_[row], names_[column],
                         format_count(count(row, column)), format_percent(share(row, column))),
             depth);
    if (cell_ < kSmallestNumber) return;
    const std::string number = std::to_string(count(row, column));
    const double size = std::min(font_, cell_ / (0.65 * static_cast<double>(number.size())));
    svg.text(x + cell_ / 2, y + cell_ / 2 + 0.35 * size, number,
             {.size = size, .anchor = "middle", .colour = depth > 0.55 ? "#ffffff" : kInk});
  }

  void draw_names(Svg& svg, std::size_t i) const {
    const double middle = cell_ * (static_cast<double>(i) + 0.5);
    svg.text(left_ - 8, top_ + middle + 0.35 * font_, names_[i], {.size = font_, .anchor = "end"});
    svg.text(left_ + middle + 0.3 * font_, top_ - 8, names_[i], {.size = font_, .rotate = -45});
    if (row_sum(i) > 0)
      svg.text(left_ + cell_ * static_cast<double>(n_) + 8, top_ + middle + 0.35 * font_,
               format_percent(share(i, i), 1), {.size = font_, .colour = kSoftInk});
  }

  std::size_t n_;
  std::span<const std::int64_t> counts_;
  std::vector<std::string> names_;
  double cell_, font_, left_, top_, right_;
};

}  // namespace

std::string confusion_matrix(const std::string& title, const std::vector<std::string>& classes,
                             std::span<const std::int64_t> counts) {
  check(counts.size() == classes.size() * classes.size(), "confusion_matrix: ", classes.size(),
        " classes need ", classes.size() * classes.size(), " counts, got ", counts.size(), ".");
  return Matrix(classes, counts).draw(title);
}

}  // namespace replk
