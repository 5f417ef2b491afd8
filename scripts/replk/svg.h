// Svg: a drawing as text, one element after the other.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace replk {

/// `text` as it may stand inside XML: the five special characters escaped, and what XML forbids (control
/// characters, bytes that are not UTF-8) replaced by U+FFFD.
std::string xml_escape(std::string_view text);

/// A colour of drawings: on white, and what a page with a dark background makes of it.
struct SvgColour {
  const char* light;
  const char* dark;
};
namespace svg_colours {
inline constexpr SvgColour kPaper{"#ffffff", "#161b22"};
inline constexpr SvgColour kInk{"#111827", "#f0f3f6"};      // titles, numbers
inline constexpr SvgColour kText{"#374151", "#d1d7df"};     // labels
inline constexpr SvgColour kSoftInk{"#6b7280", "#9aa5b1"};  // what matters less
inline constexpr SvgColour kGrid{"#e5e7eb", "#2b333d"};
inline constexpr SvgColour kAxis{"#9ca3af", "#5b6673"};
inline constexpr SvgColour kLines[] = {{"#2563eb", "#6ea8fe"}, {"#ea580c", "#fb923c"}, {"#16a34a", "#4ade80"},
                                       {"#9333ea", "#c084fc"}, {"#db2777", "#f472b6"}, {"#0891b2", "#22d3ee"},
                                       {"#ca8a04", "#facc15"}};
}  // namespace svg_colours

/// A drawing of width x height pixels on white, with fonts that every system has. Needs nothing but itself.
class Svg {
 public:
  struct TextStyle {
    double size = 12;
    const char* anchor = "start";  // start, middle, end: what stands at x
    const char* colour = svg_colours::kText.light;
    bool bold = false;
    double rotate = 0;  // degrees, about (x, y)
  };
  struct Point {
    double x, y;
  };

  /// `label` says what it shows to those who do not see it; empty: nothing.
  Svg(double width, double height, std::string_view label = "");

  /// `title` is shown when the mouse rests on the element; empty: none. `opacity` in [0, 1].
  void rect(double x, double y, double width, double height, std::string_view fill,
            std::string_view title = "", double opacity = 1);
  void line(Point from, Point to, std::string_view colour, double width = 1);
  void polyline(const std::vector<Point>& points, std::string_view colour, double width = 2);
  void circle(Point centre, double radius, std::string_view fill, std::string_view title = "",
              double opacity = 1);
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
