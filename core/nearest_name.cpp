#include "core/nearest_name.h"

#include <algorithm>
#include <vector>

#include "core/error.h"

namespace replk {
namespace {

std::string lower_case(std::string_view word) {
  std::string lower(word);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return lower;
}

constexpr std::size_t kShortestAbbreviation = 3;  // shorter ones are inside too many names

}  // namespace

std::int64_t edit_distance(std::string_view a, std::string_view b) {
  const std::string from = lower_case(a), to = lower_case(b);
  // Rows i - 2, i - 1 and i of the table of distances between the first i letters and the first j.
  std::vector<std::int64_t> before(to.size() + 1), previous(to.size() + 1), row(to.size() + 1);
  for (std::size_t j = 0; j <= to.size(); ++j) row[j] = static_cast<std::int64_t>(j);
  for (std::size_t i = 1; i <= from.size(); ++i) {
    before.swap(previous);
    previous.swap(row);
    row[0] = static_cast<std::int64_t>(i);
    for (std::size_t j = 1; j <= to.size(); ++j) {
      const std::int64_t substituted = previous[j - 1] + (from[i - 1] != to[j - 1]);
      row[j] = std::min({substituted, previous[j] + 1, row[j - 1] + 1});
      const bool swapped = i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1];
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
  }
  return row[to.size()];
}

std::string nearest_name(std::string_view word, std::span<const std::string> candidates) {
  const std::string lower = lower_case(word);
  const auto distance = [&](const std::string& candidate) {
    const std::int64_t edits = edit_distance(lower, candidate);
    const bool inside =
        lower.size() >= kShortestAbbreviation && lower_case(candidate).find(lower) != std::string::npos;
    return inside ? std::min<std::int64_t>(edits, 1) : edits;
  };
  const auto nearest =
      std::min_element(candidates.begin(), candidates.end(),
                       [&](const std::string& a, const std::string& b) { return distance(a) < distance(b); });
  return nearest == candidates.end() ? std::string() : *nearest;
}

void require_name(std::string_view flag, const std::string& name, std::span<const std::string> known) {
  if (std::find(known.begin(), known.end(), name) != known.end()) return;
  std::string choice = known[0];
  for (std::size_t i = 1; i < known.size(); ++i) choice += (i + 1 < known.size() ? ", " : " or ") + known[i];
  throw UsageError(str(flag, ": ", choice, " expected, got '", name, "'. Did you mean '",
                       nearest_name(name, known), "'?"));
}

}  // namespace replk
