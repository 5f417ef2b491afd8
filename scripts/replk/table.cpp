#include "scripts/replk/table.h"

#include <algorithm>

#include "core/error.h"
#include "scripts/replk/text.h"

namespace replk {
namespace {
constexpr std::size_t kGap = 2;  // spaces between columns
}

void Table::add(std::vector<std::string> cells) {
  check(cells.size() <= columns_.size(), "Table: ", columns_.size(), " columns, got ", cells.size(),
        " cells.");
  cells.resize(columns_.size());
  rows_.push_back(std::move(cells));
}

std::string Table::text() const {
  std::vector<std::size_t> widths;
  for (const Column& column : columns_) widths.push_back(text_columns(column.heading));
  for (const auto& row : rows_)
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], text_columns(row[i]));
  std::size_t total = widths.empty() ? 0 : kGap * (widths.size() - 1);
  for (const std::size_t width : widths) total += width;

  std::string text;
  const auto add_line = [&](const auto& cell) {
    std::string line;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const std::string& content = cell(i);
      const std::string space(widths[i] - text_columns(content), ' ');
      if (i) line.append(kGap, ' ');
      line += columns_[i].align == Align::left ? content + space : space + content;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  };
  add_line([&](std::size_t i) -> const std::string& { return columns_[i].heading; });
  for (const auto& row : rows_) {
    if (row.empty())
      text += std::string(total, '-') + "\n";
    else
      add_line([&](std::size_t i) -> const std::string& { return row[i]; });
  }
  return text;
}

}  // namespace replk
