#include "scripts/replk/html_style.h"

#include <fmt/format.h>

#include "scripts/replk/svg.h"

namespace replk {
namespace {

constexpr const char* kStyle = R"css(:root {
  --page: #f4f5f7; --paper: #ffffff; --ink: #111827; --text: #374151; --soft: #5b6472; --line: #e1e4e9;
  --accent: #1d63c4; --mark: #e8f0fc; --code: #f1f3f6;
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.55 system-ui, "Segoe UI", "Helvetica Neue", Arial, "DejaVu Sans", sans-serif;
}
header, main, footer { max-width: 1160px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 36px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 4px; color: var(--ink); letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 21px; line-height: 1.3; margin: 0 0 12px; color: var(--ink); }
h3 { font-size: 15px; line-height: 1.4; margin: 26px 0 8px; color: var(--ink); }
h2 + h3, .figure h3 { margin-top: 0; }
p { margin: 0 0 12px; max-width: 78ch; overflow-wrap: anywhere; }
.soft { color: var(--soft); }
section > :last-child { margin-bottom: 0; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 22px 24px; margin: 20px 0; }
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 14px 0 0; font-size: 15px; }
a { color: var(--accent); }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(220px, 1fr)); gap: 12px; margin: 22px 0 0; }
.facts div { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; }
dl, dd { margin: 0; }
dt { font-size: 13px; color: var(--soft); }
.facts dd { font-size: 21px; line-height: 1.3; font-weight: 600; color: var(--ink); overflow-wrap: anywhere; }
.facts dd.soft { font-size: 13px; font-weight: 400; color: var(--soft); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 1fr)); gap: 16px; align-items: end; }
svg { display: block; max-width: 100%; height: auto; margin: 0 auto; }
.matrix svg { min-width: 560px; }
.charts svg { width: 100%; max-width: 560px; }
pre { margin: 0 0 14px; padding: 12px 14px; background: var(--code); border-radius: 8px; white-space: pre-wrap; overflow-wrap: anywhere; }
pre, code { font: 13.5px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; color: var(--ink); }
.scroll { overflow: auto; max-height: 640px; margin: 0 0 12px; }
.scroll.matrix, .options .scroll { max-height: none; }
table { border-collapse: collapse; font-size: 14px; line-height: 1.4; font-variant-numeric: tabular-nums; }
caption { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
th, td { padding: 5px 18px 5px 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
thead th { position: sticky; top: 0; background: var(--paper); color: var(--soft); font-weight: 600; overflow-wrap: normal; z-index: 1; }
tbody th { font-weight: 500; color: var(--ink); overflow-wrap: break-word; }
.number { text-align: right; white-space: nowrap; }
tr.changed > * { background: var(--mark); }
tr.changed th { font-weight: 700; box-shadow: inset 3px 0 0 var(--accent); }
.options th:first-child { padding-left: 10px; }
.wide table { width: 100%; }
.bar { display: block; width: 100%; min-width: 90px; height: 9px; margin-top: 5px; border-radius: 5px; background: var(--line); overflow: hidden; }
.bar span { display: block; height: 100%; background: var(--accent); print-color-adjust: exact; -webkit-print-color-adjust: exact; }
img { display: block; max-width: 100%; height: auto; margin: 0 0 8px; }
.pixels { image-rendering: pixelated; }
.mistakes { display: grid; grid-template-columns: repeat(auto-fill, minmax(136px, 1fr)); gap: 20px 16px; list-style: none; margin: 0; padding: 0; }
.mistakes li { font-size: 13.5px; line-height: 1.45; min-width: 0; overflow-wrap: anywhere; break-inside: avoid; }
.mistakes img { width: 100%; height: auto; border-radius: 6px; margin-bottom: 6px; border: 1px solid var(--line); }
.mistakes b { color: var(--ink); }
.nowrap { white-space: nowrap; }
.blocks { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 26px 36px; }
.figure { break-inside: avoid; }
.figure img { background: var(--line); }
.label { font-size: 13px; color: var(--soft); margin: 8px 0 3px; }
.missing { border-left: 3px solid #d97706; padding-left: 12px; }
footer { padding-bottom: 40px; font-size: 13.5px; color: var(--soft); }
@media (max-width: 600px) {
  header, main, footer { padding-left: 12px; padding-right: 12px; }
  header { padding-top: 22px; }
  section { padding: 16px 14px; margin: 14px 0; }
  h1 { font-size: 24px; }
  .facts { grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 8px; }
  .facts dd { font-size: 18px; }
  .mistakes { grid-template-columns: repeat(auto-fill, minmax(96px, 1fr)); gap: 16px 12px; }
  th, td { padding-right: 12px; }
}
@media print {
  body { background: none; font-size: 11pt; }
  header, main, footer { max-width: none; padding: 0; }
  section { border: none; padding: 0; margin: 22px 0; }
  nav { display: none; }
  .scroll { max-height: none; overflow: visible; }
  h2, h3 { break-after: avoid; }
  tr, svg, img { break-inside: avoid; }
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #0d1117; --ink: #f0f3f6; --text: #d1d7df; --soft: #9aa5b1; --line: #2b333d; --accent: #6ea8fe;
    --mark: #16263d; --code: #0d1117;
  }
)css";

// What is drawn in `colour`, in its dark counterpart. Rules come before the attributes of SVG.
std::string dark_rule(const SvgColour& colour) {
  return fmt::format(
      "  text[fill=\"{0}\"], circle[fill=\"{0}\"] {{ fill: {1}; }}\n  [stroke=\"{0}\"] {{ stroke: {1}; }}\n",
      colour.light, colour.dark);
}

}  // namespace

std::string html_style() {
  using namespace svg_colours;
  std::string style = kStyle;
  style += fmt::format("  :root {{ --paper: {0}; }}\n  rect[fill=\"{1}\"] {{ fill: {0}; }}\n", kPaper.dark,
                       kPaper.light);
  for (const SvgColour& colour : {kInk, kText, kSoftInk, kGrid, kAxis}) style += dark_rule(colour);
  for (const SvgColour& colour : kLines) style += dark_rule(colour);
  return style + "}\n";
}

}  // namespace replk
