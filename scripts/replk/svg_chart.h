// Pictures of a training run: learning curves and confusion matrices, as SVG files that open in any browser.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace replk {

/// A line: y over x. Points where either is not a finite number are left out and interrupt the line; what
/// one list has more than the other is ignored.
struct Series {
  std::string name;
  std::vector<double> x, y;
};

struct ChartOptions {
  std::string title = {}, x_label = {}, y_label = {};
  bool percent = false;  // y is a share: 0.9 is shown as 90 %
  bool log_x = false;    // x is drawn on a logarithmic scale; points at 0 or below are left out
  double width = 600;    // pixels
};

struct Chart {
  ChartOptions options;
  std::vector<Series> series;
};

/// One chart: axes with round numbers, a legend, and a value under the mouse for each point of a line that is
/// not very long.
/// Without any points the axes say "no data".
std::string line_chart(const ChartOptions& options, const std::vector<Series>& series);

/// Charts side by side under one title.
std::string line_charts(const std::string& title, const std::vector<Chart>& charts);

/// Loss and accuracy (in [0, 1]) over the epochs, side by side.
std::string learning_curves(const std::string& title, const std::vector<Series>& loss,
                            const std::vector<Series>& accuracy);

/// How often samples of one class (row) were taken for another (column), with the share that was right for
/// each class. `counts` are rows of classes.size() numbers, [true * classes + predicted]. Shades show shares
/// of a row. Throws Error when the number of counts is not the square of the number of classes.
std::string confusion_matrix(const std::string& title, const std::vector<std::string>& classes,
                             std::span<const std::int64_t> counts);

}  // namespace replk
