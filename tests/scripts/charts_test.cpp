// The SVG files: well-formed XML whatever the names and numbers are, and what they show.
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "scripts/replk/svg.h"
#include "scripts/replk/svg_chart.h"
#include "tests/support/catch.h"

namespace replk {
namespace {

// A strict reader for the XML that we write: elements, quoted attributes, text, the named and numbered
// entities. Returns what is wrong, or "" for a well-formed document with one root.
class XmlCheck {
 public:
  static std::string problem(const std::string& xml) {
    XmlCheck reader(xml);
    try {
      reader.element();
      while (reader.at_ < xml.size())
        reader.expect(std::string_view(" \n\t").find(reader.next()) != xml.npos, "end");
      return "";
    } catch (const std::runtime_error& error) {
      return error.what();
    }
  }

 private:
  explicit XmlCheck(const std::string& xml) : xml_(xml) {}

  void expect(bool condition, const std::string& what) const {
    if (!condition) throw std::runtime_error(what + " expected at byte " + std::to_string(at_));
  }
  char next() {
    expect(at_ < xml_.size(), "more");
    return xml_[at_++];
  }
  bool follows(std::string_view text) {
    if (xml_.compare(at_, text.size(), text) != 0) return false;
    at_ += text.size();
    return true;
  }
  std::string name() {
    const std::size_t start = at_;
    while (at_ < xml_.size() && (std::isalnum(static_cast<unsigned char>(xml_[at_])) || xml_[at_] == '-'))
      ++at_;
    expect(at_ > start, "name");
    return xml_.substr(start, at_ - start);
  }
  void character(char quote) {
    const auto c = static_cast<unsigned char>(next());
    expect(c >= 0x20 || c == '\n' || c == '\t', "printable character");
    expect(c != '<' && c != static_cast<unsigned char>(quote), "text");
    if (c != '&') return;
    const bool known =
        follows("amp;") || follows("lt;") || follows("gt;") || follows("quot;") || follows("#39;");
    expect(known, "entity");
  }
  void element() {
    expect(follows("<"), "element");
    const std::string tag = name();
    while (follows(" ")) {
      name();
      expect(follows("=\""), "attribute");
      while (!follows("\"")) character('"');
    }
    if (follows("/>")) return;
    expect(follows(">"), "end of the tag");
    while (!follows("</")) {
      if (xml_[at_] == '<')
        element();
      else
        character(0);
    }
    expect(name() == tag && follows(">"), "end of " + tag);
  }

  const std::string& xml_;
  std::size_t at_ = 0;
};

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != text.npos; at = text.find(part, at + part.size())) ++found;
  return found;
}

const double kNan = std::nan("");
const double kInfinity = std::numeric_limits<double>::infinity();

}  // namespace

TEST_CASE("scripts/charts/xml_escape") {
  CHECK(xml_escape("a<b>&\"c'") == "a&lt;b&gt;&amp;&quot;c&#39;");
  CHECK(xml_escape("Straße \xF0\x9F\x90\x88") == "Straße \xF0\x9F\x90\x88");
  const std::string replaced = "\xEF\xBF\xBD";
  CHECK(xml_escape(std::string("a\0b", 3)) == "a" + replaced + "b");
  CHECK(xml_escape("\x1b[31m") == replaced + "[31m");
  CHECK(xml_escape("\xC3") == replaced);                                // cut off
  CHECK(xml_escape("\xC0\xAF") == replaced + replaced);                 // overlong
  CHECK(xml_escape("\xED\xA0\x80") == replaced + replaced + replaced);  // a surrogate
  CHECK(xml_escape("\xEF\xBF\xBF") == replaced + replaced + replaced);  // U+FFFF
  CHECK(xml_escape("\xF4\x90\x80\x80").size() == 4 * replaced.size());  // past the last character
}

TEST_CASE("scripts/charts/the_xml_check_finds_errors") {
  CHECK(XmlCheck::problem("<svg a=\"1\"><g/>x &amp; y</svg>\n").empty());
  for (const char* broken : {"<svg>", "<svg><g></svg></g>", "<svg>&</svg>", "<svg>&x;</svg>", "<svg a=1/>",
                             "<svg a=\"<\"/>", "<svg/><svg/>", "<svg>\x01</svg>", ""})
    CHECK_FALSE(XmlCheck::problem(broken).empty());
}

TEST_CASE("scripts/charts/lines_and_legend") {
  const std::string svg =
      line_chart({.title = "Loss <train & validation>", .x_label = "epoch", .y_label = "loss"},
                 {{"train", {1, 2, 3}, {2.0, 1.0, 0.5}}, {"\"val\"", {1, 2, 3}, {2.1, 1.2, 0.8}}});
  CHECK(XmlCheck::problem(svg) == "");
  CHECK(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
  CHECK(count(svg, "<polyline") == 2);
  CHECK(count(svg, "<circle") == 6);
  CHECK(svg.find("Loss &lt;train &amp; validation&gt;") != svg.npos);
  CHECK(svg.find("&quot;val&quot;") != svg.npos);
  CHECK(svg.find("<title>epoch 2: 1.2</title>") != svg.npos);
  // Epochs are whole numbers, so their ticks are too.
  for (const char* tick : {">1</text>", ">2</text>", ">3</text>", ">0.5</text>", ">2.5</text>"})
    CHECK(svg.find(tick) != svg.npos);
  CHECK(svg.find(">1.5</text>") != svg.npos);  // of the loss
  CHECK(count(svg, ">1.5</text>") == 1);
}

TEST_CASE("scripts/charts/percentages") {
  const std::string svg = line_chart({.title = "Accuracy", .percent = true}, {{"", {0, 1}, {0.8, 0.9}}});
  CHECK(svg.find(">80 %</text>") != svg.npos);
  CHECK(svg.find(">90 %</text>") != svg.npos);
}

TEST_CASE("scripts/charts/a_logarithmic_axis") {
  const std::string svg =
      line_chart({.x_label = "rate", .log_x = true}, {{"a", {0.001, 0.01, 0.1, 0, -1}, {1, 2, 3, 4, 5}}});
  CHECK(XmlCheck::problem(svg) == "");
  for (const char* text : {">1e-3</text>", ">1e-2</text>", ">1e-1</text>", "<title>rate 0.01: 2</title>"})
    CHECK(svg.find(text) != svg.npos);
  CHECK(count(svg, "<title>") == 3);  // what is not above 0 is left out
  // The middle one is in the middle.
  const std::string even = line_chart({}, {{"a", {-3, -2, -1}, {1, 2, 3}}});
  const auto line_of = [](const std::string& text) {
    const auto at = text.find("<polyline");
    return text.substr(at, text.find('>', at) - at);
  };
  CHECK(line_of(svg) == line_of(even));
}

TEST_CASE("scripts/charts/points_that_are_no_numbers") {
  const std::string svg = line_chart(
      {.title = "t"}, {{"a", {0, 1, 2, 3, 4}, {1, 2, kNan, 3, 4}}, {"b", {0, kInfinity}, {kInfinity, 1}}});
  CHECK(XmlCheck::problem(svg) == "");
  CHECK(count(svg, "<polyline") == 2);  // the line is interrupted
  for (const char* wrong : {"nan", "inf"}) CHECK(svg.find(wrong) == svg.npos);

  const std::string extreme = line_chart(
      {}, {{"a", {-1e308, 1e308, 1e16, 1e16 + 2}, {1e308, -1e308, 1e-320, 0}}, {"b", {5}, {1e250}}});
  CHECK(XmlCheck::problem(extreme) == "");
  for (const char* wrong : {"nan", "inf"}) CHECK(extreme.find(wrong) == extreme.npos);
}

TEST_CASE("scripts/charts/one_point_and_no_points") {
  const std::string one = line_chart({}, {{"a", {7}, {0.25}}});
  CHECK(XmlCheck::problem(one) == "");
  CHECK(one.find(">7</text>") != one.npos);
  CHECK(count(one, "<polyline") == 0);
  CHECK(count(one, "<circle") >= 1);

  const std::string constant = line_chart({}, {{"a", {1, 2}, {0, 0}}});
  CHECK(XmlCheck::problem(constant) == "");
  CHECK(count(constant, "<polyline") == 1);

  for (const std::vector<Series>& nothing :
       {std::vector<Series>{}, {{"a", {}, {}}}, {{"a", {1, 2}, {}}}, {{"a", {1}, {kNan}}}}) {
    const std::string svg = line_chart({.title = "t"}, nothing);
    CHECK(XmlCheck::problem(svg) == "");
    CHECK(svg.find("no data") != svg.npos);
    CHECK(count(svg, "<circle") + count(svg, "<polyline") == 0);
  }
  CHECK(XmlCheck::problem(line_charts("nothing", {})) == "");
}

TEST_CASE("scripts/charts/learning_curves") {
  const std::string svg = learning_curves("run", {{"train", {1, 2}, {1, 0.5}}},
                                          {{"train", {1, 2}, {0.5, 0.75}}, {"test", {2}, {0.7}}});
  CHECK(XmlCheck::problem(svg) == "");
  CHECK(svg.find(">Loss</text>") != svg.npos);
  CHECK(svg.find(">Accuracy</text>") != svg.npos);
  CHECK(svg.find(">75 %</text>") != svg.npos);
}

TEST_CASE("scripts/charts/confusion_matrix") {
  const std::vector<std::int64_t> counts = {8, 2, 0,  //
                                            1, 3, 0,  //
                                            0, 0, 0};
  const std::string svg = confusion_matrix("a & b", {"cat", "<dog>", "cow\n"}, counts);
  CHECK(XmlCheck::problem(svg) == "");
  CHECK(svg.find("11 of 14 right: 78.57 %") != svg.npos);
  CHECK(svg.find("<title>cat taken for &lt;dog&gt;: 2 (20.00 %)</title>") != svg.npos);
  CHECK(svg.find(">80.0 %</text>") != svg.npos);
  CHECK(svg.find(">75.0 %</text>") != svg.npos);
  CHECK(count(svg, "<title>") == 4);   // cells that are not zero
  CHECK(svg.find("nan") == svg.npos);  // the class without samples has no share

  CHECK(XmlCheck::problem(confusion_matrix("none", {}, {})) == "");
  CHECK(confusion_matrix("none", {}, {}).find("no samples") != std::string::npos);
  CHECK_THROWS_AS(confusion_matrix("", {"a", "b"}, std::vector<std::int64_t>{1, 2, 3}), Error);

  // A thousand classes: the file grows with what was counted, not with the square of the classes.
  const std::vector<std::string> names(1000, "class");
  std::vector<std::int64_t> many(1000 * 1000);
  for (std::size_t i = 0; i < 1000; ++i) many[i * 1001] = 50;
  const std::string large = confusion_matrix("imagenet", names, many);
  CHECK(XmlCheck::problem(large) == "");
  CHECK(large.size() < 300000);
}

}  // namespace replk
