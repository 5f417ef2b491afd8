// A text file as a whole.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace replk {

/// Throws FileError naming `path` and what was `expected` there ("a JSON file of options").
std::string read_text_file(const std::filesystem::path& path, std::string_view expected);

}  // namespace replk
