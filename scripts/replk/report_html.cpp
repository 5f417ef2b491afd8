#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "scripts/replk/html.h"
#include "scripts/replk/report.h"
#include "scripts/replk/report_options.h"
#include "scripts/replk/report_sections.h"
#include "scripts/replk/svg.h"
#include "scripts/replk/text.h"

namespace replk {
namespace {

// A number of the header, with a line below it.
std::string fact(const std::string& name, const std::string& value, const std::string& detail = "") {
  std::string markup = html_element("dt", xml_escape(name)) + html_element("dd", xml_escape(value));
  if (!detail.empty()) markup += html_element("dd", xml_escape(detail), "class=\"soft\"");
  return html_element("div", markup);
}

// The best of one column of the metrics, by the epoch that reached it first; none where all are NaN.
const EpochMetrics* best_epoch(const std::vector<EpochMetrics>& rows, double EpochMetrics::*accuracy) {
  const EpochMetrics* best = nullptr;
  for (const EpochMetrics& row : rows)
    if (std::isfinite(row.*accuracy) && (!best || row.*accuracy > best->*accuracy)) best = &row;
  return best;
}

std::string metric_facts(const Report& report) {
  if (!report.metrics.value || report.metrics.value->empty()) return "";
  const std::vector<EpochMetrics>& rows = *report.metrics.value;
  std::string facts;
  const auto add = [&](const char* name, double EpochMetrics::*accuracy) {
    const EpochMetrics* best = best_epoch(rows, accuracy);
    if (best) facts += fact(name, format_percent(best->*accuracy), fmt::format("epoch {}", best->epoch));
    return best != nullptr;
  };
  if (!add("Best validation accuracy", &EpochMetrics::val_accuracy))
    add("Best training accuracy", &EpochMetrics::train_accuracy);
  add("Best, averaged weights", &EpochMetrics::val_accuracy_ema);
  const double seconds =
      std::accumulate(rows.begin(), rows.end(), 0.0, [](double sum, const EpochMetrics& row) {
        return sum + (std::isfinite(row.seconds) ? row.seconds : 0);
      });
  facts += fact("Epochs", fmt::format("{} of {}", rows.back().epoch, report.options.epochs),
                format_count(rows.back().step) + " steps");
  facts += fact("Time", format_duration(seconds),
                format_duration(seconds / static_cast<double>(rows.size())) + " an epoch");
  return facts;
}

std::string facts(const Report& report) {
  std::string markup = metric_facts(report);
  if (const auto& answered = report.answered.value)
    markup += fact("Accuracy, " + answered->part, format_percent(answered->evaluation.accuracy),
                   fmt::format("{} images", format_count(answered->evaluation.images)));
  if (const auto& network = report.network.value)
    markup += fact("Parameters", format_count(network->parameters));
  markup += fact("Device", report.options.device + ", " + report.options.precision, "as configured");
  return html_element("dl", markup, "class=\"facts\"");
}

struct Section {
  const char *id, *title;
  std::string markup;
};

std::string header_of(const Report& report, const std::string& title, const std::vector<Section>& sections) {
  std::string links;
  for (const Section& section : sections)
    links += html_element("a", section.title, fmt::format("href=\"#{}\"", section.id));
  return html_element("header", html_element("h1", xml_escape(title)) +
                                    html_element("p", "Training run in " + html_code(report.folder.string()),
                                                 "class=\"soft\"") +
                                    facts(report) + html_element("nav", links, "aria-label=\"Sections\""));
}

}  // namespace

std::string report_html(const Report& report) {
  const std::string data = report.network.value ? report.network.value->card.dataset : report.options.data;
  const std::string title = report.options.model + " on " + data;
  const std::vector<Section> sections = {{"training", "Training", training_section(report)},
                                         {"evaluation", "Evaluation", evaluation_section(report)},
                                         {"mistakes", "Worst mistakes", mistakes_section(report)},
                                         {"kernels", "Kernels", kernels_section(report)},
                                         {"merging", "Merging", merging_section(report)},
                                         {"configuration", "Configuration", configuration_section(report)},
                                         {"commands", "Commands", commands_section(report)}};
  std::string main;
  for (const Section& section : sections)
    main += html_element(
        "section", html_element("h2", section.title, fmt::format("id=\"{}\"", section.id)) + section.markup,
        fmt::format("aria-labelledby=\"{}\"", section.id));
  return html_page(title,
                   header_of(report, title, sections) + html_element("main", main) +
                       html_element("footer", "Made by replk report. Everything shown is inside this file."));
}

}  // namespace replk
