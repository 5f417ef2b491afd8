#include "scripts/replk/html.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "data/codec.h"
#include "io/base64.h"
#include "scripts/replk/html_style.h"
#include "scripts/replk/svg.h"

namespace replk {

std::string html_element(std::string_view tag, std::string_view markup, std::string_view attributes) {
  return fmt::format("<{0}{1}{2}>{3}</{0}>\n", tag, attributes.empty() ? "" : " ", attributes, markup);
}

void HtmlTable::add(const std::vector<std::string>& cells, std::string_view row_class) {
  check(cells.size() == columns_.size(), "HtmlTable: ", columns_.size(), " cells expected, got ",
        cells.size(), ".");
  rows_ += row_class.empty() ? "<tr>" : fmt::format("<tr class=\"{}\">", row_class);
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const char* number = columns_[i].number ? " class=\"number\"" : "";
    rows_ += i == 0 ? fmt::format("<th scope=\"row\"{}>{}</th>", number, cells[i])
                    : fmt::format("<td{}>{}</td>", number, cells[i]);
  }
  rows_ += "</tr>\n";
}

std::string HtmlTable::markup() const {
  std::string headings;
  for (const Column& column : columns_)
    headings += fmt::format("<th scope=\"col\"{}>{}</th>", column.number ? " class=\"number\"" : "",
                            xml_escape(column.heading));
  // What is too wide or too long scrolls, and can be reached with the keyboard.
  return fmt::format(
      "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{0}\">\n"
      "<table><caption>{0}</caption>\n<thead><tr>{1}</tr></thead>\n<tbody>\n{2}</tbody></table></div>\n",
      xml_escape(caption_), headings, rows_);
}

std::string html_image(const Image& image, std::string_view alt_text, std::int64_t width) {
  constexpr std::int64_t kLargestExact = 96;  // a side; photos above it are JPEG
  const bool photo = std::min(image.height, image.width) > kLargestExact && image.channels != 4;
  const std::vector<std::uint8_t> bytes = photo ? encode_jpeg(image) : encode_png(image);
  return fmt::format("<img src=\"data:image/{};base64,{}\" alt=\"{}\" width=\"{}\" height=\"{}\"{}/>",
                     photo ? "jpeg" : "png", base64(bytes), xml_escape(alt_text), width,
                     std::max<std::int64_t>(width * image.height / image.width, 1),
                     photo ? "" : " class=\"pixels\"");
}

std::string html_page(std::string_view title_text, std::string_view body_markup) {
  // The policy is for a browser that is fooled where escaping was not: no scripts, nothing from outside.
  return fmt::format(
      "<!DOCTYPE html>\n"
      "<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
      "<meta name=\"color-scheme\" content=\"light dark\"/>\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
      "style-src 'unsafe-inline'\"/>\n"
      "<title>{}</title>\n<style>\n{}</style>\n</head>\n<body>\n{}</body>\n</html>\n",
      xml_escape(title_text), html_style(), body_markup);
}

}  // namespace replk
