#include "scripts/replk/svg_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "scripts/replk/svg.h"
#include "scripts/replk/text.h"

namespace replk {
namespace {

constexpr double kPlotHeight = 280;  // of one chart
constexpr double kLeft = 72, kRight = 24, kBottom = 56;
constexpr double kTitleHeight = 44, kLegendRow = 20;
constexpr double kLargest = 1e300;        // beyond it differences overflow
constexpr std::size_t kMostMarkers = 60;  // of longer lines only what is under the mouse
constexpr std::size_t kMostTitles = 1000;
constexpr const char* kInk = svg_colours::kInk.light;
constexpr const char* kSoftInk = svg_colours::kSoftInk.light;
constexpr const char* kGrid = svg_colours::kGrid.light;
constexpr const char* kAxis = svg_colours::kAxis.light;

const char* line_colour(std::size_t series) {
  return svg_colours::kLines[series % std::size(svg_colours::kLines)].light;
}

bool usable(double value) { return std::isfinite(value) && std::abs(value) <= kLargest; }

// Calls f(series index, x, y, usable) for every point.
template <class F>
void for_each_point(const std::vector<Series>& series, const F& f) {
  for (std::size_t s = 0; s < series.size(); ++s)
    for (std::size_t i = 0; i < std::min(series[s].x.size(), series[s].y.size()); ++i)
      f(s, series[s].x[i], series[s].y[i], usable(series[s].x[i]) && usable(series[s].y[i]));
}

// An axis: the numbers it spans and where it shows one.
struct Axis {
  double low = 0, high = 1, step = 0.2;
  double place(double value) const { return (value - low) / (high - low); }
  std::vector<double> ticks() const {
    std::vector<double> values;
    const double first = std::ceil(low / step - 1e-6);
    for (double i = first; i * step <= high + 1e-6 * step && values.size() < 100; ++i)
      values.push_back(i * step);
    return values;
  }
  std::string label(double value) const {
    if (std::abs(value) < 1e-9 * step) return "0";
    const double size = std::max(std::abs(low), std::abs(high));
    if (size >= 1e6 || step < 1e-5) return fmt::format("{:.6g}", value);
    return fmt::format("{:.{}f}", value, std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-6))));
  }
};

// Steps of 1, 2 or 5 times a power of ten, about `count` of them. `rounded`: the ends are ticks too.
Axis make_axis(double low, double high, int count, bool rounded, bool whole_numbers) {
  const double size = std::max({std::abs(low), std::abs(high), 1e-300});
  if (high - low < 1e-9 * size) {  // a single value
    const double margin = whole_numbers || size < 1e-299 ? 0.5 : 0.05 * size;
    low -= margin;
    high += margin;
  }
  const double rough = (high - low) / count;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double factor : {5.0, 2.0, 1.0})
    if (factor * power >= rough * (1 - 1e-9)) step = factor * power;
  if (whole_numbers) step = std::max(1.0, step);
  if (rounded) {
    low = std::floor(low / step + 1e-6) * step;
    high = std::ceil(high / step - 1e-6) * step;
  }
  return {low, high, step};
}

struct Axes {
  Axis x, y;
  bool empty = true;
};

// `whole_x`: x shows whole numbers alone, as it does where all are.
Axes axes_of(const std::vector<Series>& series, double y_scale, bool whole_x) {
  double low_x = kLargest, high_x = -kLargest, low_y = kLargest, high_y = -kLargest;
  bool whole = true, empty = true;
  for_each_point(series, [&](std::size_t, double x, double y, bool valid) {
    if (!valid) return;
    empty = false;
    low_x = std::min(low_x, x);
    high_x = std::max(high_x, x);
    low_y = std::min(low_y, y * y_scale);
    high_y = std::max(high_y, y * y_scale);
    whole = whole && x == std::floor(x);
  });
  if (empty) return {};
  return {make_axis(low_x, high_x, 8, false, whole || whole_x), make_axis(low_y, high_y, 5, true, false),
          false};
}

// The names of the lines in rows below the title; returns where the plot may begin.
double draw_legend(Svg& svg, const std::vector<Series>& series, double left, double right, double top) {
  constexpr double kSize = 12, kSwatch = 18, kGap = 18;
  double x = left, y = top;
  bool any = false;
  for (std::size_t s = 0; s < series.size(); ++s) {
    if (series[s].name.empty()) continue;
    const double width = kSwatch + 6 + Svg::text_width(series[s].name, kSize);
    if (x > left && x + width > right) {
      x = left;
      y += kLegendRow;
    }
    any = true;
    svg.line({x, y + 6}, {x + kSwatch, y + 6}, line_colour(s), 3);
    svg.text(x + kSwatch + 6, y + 10, series[s].name, {.size = kSize});
    x += width + kGap;
  }
  return any ? y + kLegendRow + 6 : top;
}

// How many rows draw_legend takes, for the height of the picture.
double legend_height(const Chart& chart) {
  Svg scratch(1, 1);
  return draw_legend(scratch, chart.series, kLeft, chart.options.width - kRight, 0);
}

void draw_axes(Svg& svg, const ChartOptions& options, const Axes& axes, double left, double top,
               double width) {
  const double bottom = top + kPlotHeight;
  for (const double value : axes.y.ticks()) {
    const double y = bottom - axes.y.place(value) * kPlotHeight;
    svg.line({left, y}, {left + width, y}, kGrid);
    const std::string unit = options.percent ? " %" : "";
    if (!axes.empty)
      svg.text(left - 8, y + 4, axes.y.label(value) + unit,
               {.size = 11, .anchor = "end", .colour = kSoftInk});
  }
  svg.line({left, bottom}, {left + width, bottom}, kAxis);
  for (const double value : axes.x.ticks()) {
    if (axes.empty) break;
    const double x = left + axes.x.place(value) * width;
    svg.line({x, bottom}, {x, bottom + 4}, kAxis);
    const std::string label = options.log_x ? fmt::format("1e{:.3g}", value) : axes.x.label(value);
    svg.text(x, bottom + 18, label, {.size = 11, .anchor = "middle", .colour = kSoftInk});
  }
  svg.text(left + width / 2, bottom + 40, options.x_label, {.anchor = "middle"});
  svg.text(left - 54, top + kPlotHeight / 2, options.y_label, {.anchor = "middle", .rotate = -90});
}

void draw_series(Svg& svg, const Chart& chart, const Axes& axes, double left, double top, double width) {
  const double scale = chart.options.percent ? 100 : 1;
  const auto place = [&](double x, double y) {
    return Svg::Point{left + axes.x.place(x) * width, top + (1 - axes.y.place(scale * y)) * kPlotHeight};
  };
  for (std::size_t s = 0; s < chart.series.size(); ++s) {
    const Series& series = chart.series[s];
    const char* colour = line_colour(s);
    std::vector<Svg::Point> run;
    const auto end_run = [&] {
      if (run.size() > 1) svg.polyline(run, colour);
      if (run.size() == 1) svg.circle(run.front(), 3, colour);
      run.clear();
    };
    for_each_point({series}, [&](std::size_t, double x, double y, bool valid) {
      if (valid)
        run.push_back(place(x, y));
      else
        end_run();
    });
    end_run();
    if (series.x.size() > kMostTitles) continue;
    const bool marked = series.x.size() <= kMostMarkers;
    for_each_point({series}, [&](std::size_t, double x, double y, bool valid) {
      if (valid)
        svg.circle(place(x, y), marked ? 3 : 5, colour,
                   fmt::format("{} {:.6g}: {:.5g}{}", chart.options.x_label,
                               chart.options.log_x ? std::pow(10.0, x) : x, scale * y,
                               chart.options.percent ? " %" : ""),
                   marked ? 1 : 0);
    });
  }
}

// The chart with what is to be placed along x: powers of ten where the scale is logarithmic.
Chart placeable(Chart chart) {
  if (!chart.options.log_x) return chart;
  for (Series& series : chart.series)
    for (double& x : series.x) x = std::log10(x);
  return chart;
}

void draw_chart(Svg& svg, const Chart& given, double x, double y, double legend) {
  const Chart chart = placeable(given);
  const double left = x + kLeft, width = chart.options.width - kLeft - kRight;
  svg.text(left, y + 30, chart.options.title, {.size = 15, .colour = kInk, .bold = true});
  draw_legend(svg, chart.series, left, left + width, y + kTitleHeight);
  const double top = y + kTitleHeight + legend;
  const Axes axes = axes_of(chart.series, chart.options.percent ? 100 : 1, chart.options.log_x);
  draw_axes(svg, chart.options, axes, left, top, width);
  if (axes.empty)
    svg.text(left + width / 2, top + kPlotHeight / 2, "no data", {.anchor = "middle", .colour = kSoftInk});
  draw_series(svg, chart, axes, left, top, width);
}

// "Chart of loss over epoch: training, validation"
std::string spoken(const std::string& title, const std::vector<Chart>& charts) {
  std::string text = title;
  for (const Chart& chart : charts) {
    std::vector<std::string> names;
    for (const Series& series : chart.series) names.push_back(series.name);
    std::erase(names, "");
    text += fmt::format("{}{} over {}{}{}", text.empty() ? "" : "; ", chart.options.title,
                        chart.options.x_label, names.empty() ? "" : ": ", join(names));
  }
  return text;
}

}  // namespace

std::string line_charts(const std::string& title, const std::vector<Chart>& charts) {
  const double heading = title.empty() ? 0 : 40;
  double legend = 0, width = 0;
  for (const Chart& chart : charts) {
    legend = std::max(legend, legend_height(chart));
    width += chart.options.width;
  }
  Svg svg(charts.empty() ? ChartOptions().width : width,
          heading + kTitleHeight + legend + kPlotHeight + kBottom, spoken(title, charts));
  if (!title.empty()) svg.text(kLeft, 36, title, {.size = 19, .colour = kInk, .bold = true});
  double x = 0;
  for (const Chart& chart : charts) {
    draw_chart(svg, chart, x, heading, legend);
    x += chart.options.width;
  }
  return svg.finish();
}

std::string line_chart(const ChartOptions& options, const std::vector<Series>& series) {
  return line_charts("", {{options, series}});
}

std::string learning_curves(const std::string& title, const std::vector<Series>& loss,
                            const std::vector<Series>& accuracy) {
  return line_charts(
      title, {{{.title = "Loss", .x_label = "epoch", .y_label = "cross entropy"}, loss},
              {{.title = "Accuracy", .x_label = "epoch", .y_label = "accuracy", .percent = true}, accuracy}});
}

}  // namespace replk
