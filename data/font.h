// A tiny bitmap font for captions.
#pragma once

#include <string_view>

#include "data/image.h"

namespace replk {

inline constexpr std::int64_t kFontHeight = 7;
inline constexpr std::int64_t kFontAdvance = 6;  // from one letter to the next, its gap included

/// Writes `text` in black on an image of any number of channels, its upper left corner at (top, left), cut
/// after `most_width` pixels and at the image's edges. Small letters are drawn as capitals, unknown
/// characters as a box.
void draw_text(Image& image, std::string_view text, std::int64_t top, std::int64_t left,
               std::int64_t most_width);

}  // namespace replk
