// Aligned tables of plain text.
#pragma once

#include <string>
#include <vector>

namespace replk {

/// Collects rows and prints them with every column as wide as its widest cell:
///
///     layer   parameters
///     stem         1,234
///     ------------------
///     total        1,234
class Table {
 public:
  enum class Align { left, right };
  struct Column {
    std::string heading;
    Align align = Align::left;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  /// Cells that are missing at the end are empty. Throws Error when there are too many.
  void add(std::vector<std::string> cells);
  /// A line across the table.
  void add_rule() { rows_.emplace_back(); }
  /// The table, each line ended, without spaces at the ends of lines.
  std::string text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;  // without cells: a rule
};

}  // namespace replk
