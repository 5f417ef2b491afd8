// Svg: a drawing as text, one element after the other.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace replk {

/// `text` as it may stand inside XML: the five special characters escaped, and what XML forbids (control
/// characters, bytes that are not UTF-8) replaced by U+FFFD.
std::string xml_escape(std::string_view text);

/// A drawing of width x height pixels on white, with fonts that every system has. Needs nothing but itself.
class Svg {
 public:
  struct TextStyle {
    double size = 12;
    const char* anchor = "start";  // start, middle, end: what stands at x
    const char* colour = "#374151";
    bool bold = false;
    double rotate = 0;  // degrees, about (x, y)
  };
  struct Point {
    double x, y;
  };

  Svg(double width, double height);

  /// `title` is shown when the mouse rests on the element; empty: none.
  void rect(double x, double y, double width, double height, std::string_view fill,
            std::string_view title = "");
  void line(Point from, Point to, std::string_view colour, double width = 1);
  void polyline(const std::vector<Point>& points, std::string_view colour, double width = 2);
  void circle(Point centre, double radius, std::string_view fill, std::string_view title = "");
  void text(double x, double y, std::string_view content, const TextStyle& style);

  /// About how wide a text is, for layout.
  static double text_width(std::string_view content, double size);
  /// The whole file.
  std::string finish() const;

 private:
  void element(std::string_view start, std::string_view title);
  std::string body_;
};

}  // namespace replk
