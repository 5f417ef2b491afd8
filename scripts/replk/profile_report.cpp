#include "scripts/replk/profile_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "scripts/replk/table.h"
#include "scripts/replk/text.h"

namespace replk {
namespace {

// The group of an operator, by the beginning of its name; longer beginnings come first.
constexpr std::pair<const char*, const char*> kGroups[] = {
    {"depthwise_conv2d", "depth-wise convolution"},
    {"conv2d_1x1", "1x1 convolution"},
    {"conv2d", "other convolution"},
    {"batch_norm2d", "normalisation"},
    {"layer_norm", "normalisation"},
    {"relu", "activations"},
    {"gelu", "activations"},
    {"sigmoid", "activations"},
    {"data", "waiting for data"},
    {"optimizer", "optimizer"},
};

const char* group_of(const std::string& name) {
  for (const auto& [beginning, group] : kGroups)
    if (name.starts_with(beginning)) return group;
  return nullptr;
}

}  // namespace

std::vector<std::pair<std::string, double>> profile_groups(
    const std::map<std::string, Profile::Entry>& entries, double total) {
  std::map<std::string, double> seconds;
  for (const auto& [beginning, group] : kGroups) seconds[group] = 0;
  double rest = total;
  for (const auto& [name, entry] : entries) {
    const char* group = group_of(name);
    if (!group) continue;
    seconds[group] += entry.seconds;
    rest -= entry.seconds;
  }
  std::vector<std::pair<std::string, double>> groups(seconds.begin(), seconds.end());
  std::stable_sort(groups.begin(), groups.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  groups.emplace_back("other", std::max(rest, 0.0));
  return groups;
}

std::string profile_report(const std::map<std::string, Profile::Entry>& entries, double total) {
  Table table({{"time spent in"}, {"seconds", Table::Align::right}, {"share", Table::Align::right}});
  for (const auto& [group, seconds] : profile_groups(entries, total))
    table.add({group, fmt::format("{:.2f}", seconds), format_percent(seconds / total, 1)});
  table.add_rule();
  table.add({"total", fmt::format("{:.2f}", total), format_percent(1, 1)});
  return table.text();
}

}  // namespace replk
