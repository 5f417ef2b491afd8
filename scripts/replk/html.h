// Pieces of an HTML page that needs nothing but itself. "markup" is put in as it is, "text" is escaped.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "data/image.h"

namespace replk {

/// <tag attributes>markup</tag>. `attributes`: markup, such as "class=\"wide\"".
std::string html_element(std::string_view tag, std::string_view markup, std::string_view attributes = "");

/// A table with headings; a caption for those who cannot see where it stands.
class HtmlTable {
 public:
  struct Column {
    std::string heading;  // text
    bool number = false;  // aligned to the right
  };
  HtmlTable(std::string caption, std::vector<Column> columns)
      : caption_(std::move(caption)), columns_(std::move(columns)) {}

  /// Cells are markup, one for each column; the first one heads its row.
  void add(const std::vector<std::string>& cells, std::string_view row_class = "");
  std::string markup() const;

 private:
  std::string caption_;
  std::vector<Column> columns_;
  std::string rows_;
};

/// The picture inside an <img>, as JPEG where it is a large photo and as PNG otherwise; `width` pixels wide
/// on the page (less where there is no room). A small picture is enlarged pixel by pixel.
std::string html_image(const Image& image, std::string_view alt_text, std::int64_t width);

/// A whole page in light and dark, for screens, phones and paper. Nothing on it may load anything or run.
std::string html_page(std::string_view title_text, std::string_view body_markup);

}  // namespace replk
