// Text out of a file, made fit for an error message. Used within io.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

namespace replk {

/// The text in quotes, without control characters, cut after 100 bytes.
inline std::string shown(std::string_view text) {
  constexpr std::size_t kLongest = 100;
  std::string result(text.substr(0, kLongest));
  std::replace_if(
      result.begin(), result.end(), [](unsigned char c) { return c < 32 || c == 127; }, '?');
  return "\"" + result + (text.size() > kLongest ? "...\"" : "\"");
}

}  // namespace replk
