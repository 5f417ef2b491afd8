#include "scripts/replk/svg.h"

#include <fmt/format.h>

#include <algorithm>

#include "scripts/replk/text.h"

namespace replk {
namespace {

constexpr const char* kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// Bytes of the UTF-8 character that starts at text[i], or 0 when there is none that XML allows.
std::size_t character_length(std::string_view text, std::size_t i) {
  const auto byte = [&](std::size_t k) { return static_cast<unsigned char>(text[k]); };
  const unsigned lead = byte(i);
  if (lead < 0x80) return lead >= 0x20 || lead == '\t' || lead == '\n' ? 1 : 0;
  const std::size_t length = lead >= 0xC2 && lead <= 0xDF   ? 2
                             : (lead & 0xF0) == 0xE0        ? 3
                             : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                            : 0;
  if (length == 0 || i + length > text.size()) return 0;
  unsigned code = lead & (0xFFU >> (length + 1));
  for (std::size_t k = 1; k < length; ++k) {
    if ((byte(i + k) & 0xC0) != 0x80) return 0;
    code = code << 6 | (byte(i + k) & 0x3FU);
  }
  const unsigned smallest = length == 2 ? 0x80 : length == 3 ? 0x800 : 0x10000;
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  if (code < smallest || code > 0x10FFFF || surrogate || code == 0xFFFE || code == 0xFFFF) return 0;
  return length;
}

std::string paint(std::string_view fill, double opacity) {
  return opacity >= 1 ? fmt::format("fill=\"{}\"", fill)
                      : fmt::format("fill=\"{}\" fill-opacity=\"{:.3g}\"", fill, opacity);
}

}  // namespace

std::string xml_escape(std::string_view text) {
  std::string escaped;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = character_length(text, i);
    const std::string_view character = text.substr(i, std::max<std::size_t>(length, 1));
    if (length == 0)
      escaped += kReplacement;
    else if (character == "&")
      escaped += "&amp;";
    else if (character == "<")
      escaped += "&lt;";
    else if (character == ">")
      escaped += "&gt;";
    else if (character == "\"")
      escaped += "&quot;";
    else if (character == "'")
      escaped += "&#39;";
    else
      escaped += character;
    i += character.size();
  }
  return escaped;
}

Svg::Svg(double width, double height, std::string_view label) {
  const std::string spoken =
      label.empty() ? "" : fmt::format(" role=\"img\" aria-label=\"{}\"", xml_escape(label));
  body_ = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.6g}\" height=\"{1:.6g}\" viewBox=\"0 0 {0:.6g} "
      "{1:.6g}\" font-family=\"system-ui, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', "
      "sans-serif\"{2}>\n",
      width, height, spoken);
  rect(0, 0, width, height, svg_colours::kPaper.light);
}

void Svg::element(std::string_view start, std::string_view title) {
  if (title.empty()) {
    body_ += fmt::format("<{}/>\n", start);
    return;
  }
  const std::string_view name = start.substr(0, start.find(' '));
  body_ += fmt::format("<{}><title>{}</title></{}>\n", start, xml_escape(title), name);
}

void Svg::rect(double x, double y, double width, double height, std::string_view fill, std::string_view title,
               double opacity) {
  element(fmt::format("rect x=\"{:.6g}\" y=\"{:.6g}\" width=\"{:.6g}\" height=\"{:.6g}\" {}", x, y, width,
                      height, paint(fill, opacity)),
          title);
}

void Svg::line(Point from, Point to, std::string_view colour, double width) {
  element(fmt::format("line x1=\"{:.6g}\" y1=\"{:.6g}\" x2=\"{:.6g}\" y2=\"{:.6g}\" stroke=\"{}\" "
                      "stroke-width=\"{:.6g}\"",
                      from.x, from.y, to.x, to.y, colour, width),
          "");
}

void Svg::polyline(const std::vector<Point>& points, std::string_view colour, double width) {
  std::string places;
  for (const Point& point : points)
    places += fmt::format("{}{:.6g},{:.6g}", places.empty() ? "" : " ", point.x, point.y);
  element(fmt::format("polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{:.6g}\" "
                      "stroke-linejoin=\"round\" stroke-linecap=\"round\"",
                      places, colour, width),
          "");
}

void Svg::circle(Point centre, double radius, std::string_view fill, std::string_view title, double opacity) {
  element(fmt::format("circle cx=\"{:.6g}\" cy=\"{:.6g}\" r=\"{:.6g}\" {}", centre.x, centre.y, radius,
                      paint(fill, opacity)),
          title);
}

void Svg::text(double x, double y, std::string_view content, const TextStyle& style) {
  const std::string turn =
      style.rotate == 0 ? "" : fmt::format(" transform=\"rotate({:.6g} {:.6g} {:.6g})\"", style.rotate, x, y);
  body_ += fmt::format(
      "<text x=\"{:.6g}\" y=\"{:.6g}\" font-size=\"{:.6g}\" text-anchor=\"{}\" fill=\"{}\"{}{}>{}</text>\n",
      x, y, style.size, style.anchor, style.colour, style.bold ? " font-weight=\"600\"" : "", turn,
      xml_escape(content));
}

double Svg::text_width(std::string_view content, double size) {
  constexpr double kMeanWidth = 0.6;  // of a letter, in units of the font's size
  return kMeanWidth * size * static_cast<double>(text_columns(content));
}

std::string Svg::finish() const { return body_ + "</svg>\n"; }

}  // namespace replk
