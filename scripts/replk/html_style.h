// How our pages look.
#pragma once

#include <string>

namespace replk {

/// The style sheet, without the characters that HTML and XML would read otherwise inside <style>. Drawings
/// (svg.h) get colours for a dark background.
std::string html_style();

}  // namespace replk
