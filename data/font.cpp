#include "data/font.h"

#include <algorithm>
#include <array>

namespace replk {
namespace {

constexpr std::int64_t kGlyphWidth = 5;

// A line of glyphs side by side, six columns each, in the order of `characters`.
struct GlyphLine {
  std::string_view characters;
  std::array<std::string_view, kFontHeight> rows;
};

// clang-format off
constexpr std::array<GlyphLine, 4> kGlyphs = {{
  {"ABCDEFGHIJKLM", {
    " ###  ####   #### ####  ##### #####  #### #   #  ###    ### #   # #     #   # ",
    "#   # #   # #     #   # #     #     #     #   #   #      #  #  #  #     ## ## ",
    "#   # #   # #     #   # #     #     #     #   #   #      #  # #   #     # # # ",
    "##### ####  #     #   # ####  ####  #  ## #####   #      #  ##    #     # # # ",
    "#   # #   # #     #   # #     #     #   # #   #   #      #  # #   #     #   # ",
    "#   # #   # #     #   # #     #     #   # #   #   #   #  #  #  #  #     #   # ",
    "#   # ####   #### ####  ##### #      #### #   #  ###   ##   #   # ##### #   # "}},
  {"NOPQRSTUVWXYZ", {
    "#   #  ###  ####   ###  ####   #### ##### #   # #   # #   # #   # #   # ##### ",
    "##  # #   # #   # #   # #   # #       #   #   # #   # #   # #   # #   #     # ",
    "# # # #   # #   # #   # #   # #       #   #   # #   # #   #  # #   # #     #  ",
    "#  ## #   # ####  #   # ####   ###    #   #   # #   # # # #   #     #     #   ",
    "#   # #   # #     # # # # #       #   #   #   # #   # # # #  # #    #    #    ",
    "#   # #   # #     #  #  #  #      #   #   #   #  # #  ## ## #   #   #   #     ",
    "#   #  ###  #      ## # #   # ####    #    ###    #   #   # #   #   #   ##### "}},
  {"0123456789", {
    " ###    #    ###  ####     #  #####  ###  #####  ###   ###  ",
    "#   #  ##   #   #     #   ##  #     #         # #   # #   # ",
    "#  ##   #       #     #  # #  ####  #        #  #   # #   # ",
    "# # #   #      #   ###  #  #      # ####    #    ###   #### ",
    "##  #   #     #       # #####     # #   #   #   #   #     # ",
    "#   #   #    #        #    #  #   # #   #   #   #   #     # ",
    " ###   ###  ##### ####     #   ###   ###    #    ###   ###  "}},
  {" -_/.,:%()+&'", {
    "                      #                   ##       #   #           ##     #   ",
    "                      #              ##   ##  #   #     #     #   #  #    #   ",
    "                     #               ##      #   #       #    #   # #    #    ",
    "       ###          #                       #    #       #  #####  #          ",
    "                   #           ##    ##    #     #       #    #   # # #       ",
    "                  #      ##     #    ##   #  ##   #     #     #   #  #        ",
    "            ##### #      ##    #             ##    #   #           ## #       "}},
}};
// clang-format on

constexpr std::array<std::string_view, kFontHeight> kUnknown = {"#####", "#   #", "#   #", "#   #",
                                                                "#   #", "#   #", "#####"};

// Row y of a character's glyph, kGlyphWidth characters of which '#' is ink.
std::string_view glyph_row(char character, std::size_t y) {
  if (character >= 'a' && character <= 'z') character = static_cast<char>(character - 'a' + 'A');
  for (const GlyphLine& line : kGlyphs) {
    const std::size_t place = line.characters.find(character);
    if (place != std::string_view::npos) return line.rows[y].substr(place * kFontAdvance, kGlyphWidth);
  }
  return kUnknown[y];
}

}  // namespace

void draw_text(Image& image, std::string_view text, std::int64_t top, std::int64_t left,
               std::int64_t most_width) {
  for (const char character : text) {
    if (kGlyphWidth > most_width) return;
    for (std::int64_t y = 0; y < kFontHeight; ++y) {
      const std::string_view row = glyph_row(character, static_cast<std::size_t>(y));
      for (std::int64_t x = 0; x < kGlyphWidth; ++x) {
        const bool inside = top + y >= 0 && top + y < image.height && left + x >= 0 && left + x < image.width;
        if (inside && row[static_cast<std::size_t>(x)] == '#')
          std::fill_n(image.row(top + y) + (left + x) * image.channels, image.channels, std::uint8_t{0});
      }
    }
    left += kFontAdvance;
    most_width -= kFontAdvance;
  }
}

}  // namespace replk
