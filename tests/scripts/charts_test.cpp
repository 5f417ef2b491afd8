// The SVG files: well-formed XML whatever the names and numbers are, and what they show.
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "scripts/replk/svg.h"
#include "scripts/replk/svg_chart.h"
#include "tests/scripts/xml_check.h"
#include "tests/support/catch.h"

namespace replk {
namespace {

using test::count;
using test::XmlCheck;

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

TEST_CASE("scripts/charts/long_lines_have_values_but_no_markers") {
  const auto chart = [](std::size_t points, double width) {
    Series series{"a", {}, {}};
    for (std::size_t i = 0; i < points; ++i) {
      series.x.push_back(static_cast<double>(i));
      series.y.push_back(1);
    }
    return line_chart({.title = "t", .x_label = "epoch", .width = width}, {series});
  };
  CHECK(count(chart(60, 600), "<circle") == 60);
  CHECK(count(chart(60, 600), "fill-opacity") == 0);
  const std::string longer = chart(61, 440);
  CHECK(XmlCheck::problem(longer) == "");
  CHECK(count(longer, "<title>epoch ") == 61);
  CHECK(count(longer, " fill-opacity=\"0\"><title>epoch ") == 61);  // only under the mouse
  CHECK(count(chart(1001, 600), "<circle") == 0);
  CHECK(longer.find("width=\"440\"") != longer.npos);
}

TEST_CASE("scripts/charts/are_described_in_words") {
  const std::string svg =
      line_chart({.title = "a \"b\"", .x_label = "epoch"}, {{"<c>", {1}, {2}}, {"d", {1}, {2}}});
  CHECK(svg.find("role=\"img\" aria-label=\"a &quot;b&quot; over epoch: &lt;c&gt;, d\"") != svg.npos);
  const std::string matrix = confusion_matrix("t", {"x", "y"}, std::vector<std::int64_t>{3, 1, 0, 4});
  CHECK(matrix.find("role=\"img\" aria-label=\"Confusion matrix, t: 7 of 8 right: 87.50 %\"") != matrix.npos);
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
  CHECK(count(svg, "<title>") == 4);                 // cells that are not zero
  CHECK(count(svg, "fill-opacity=\"0.8\"") == 1);    // 8 of 10
  CHECK(count(svg, "fill-opacity=\"0.447\"") == 1);  // the root of 2 of 10
  CHECK(svg.find("nan") == svg.npos);                // the class without samples has no share

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
