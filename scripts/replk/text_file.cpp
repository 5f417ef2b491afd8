#include "scripts/replk/text_file.h"

#include <fstream>
#include <sstream>

#include "core/error.h"

namespace replk {

std::string read_text_file(const std::filesystem::path& path, std::string_view expected) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) throw FileError(str(path.string(), ": ", expected, " expected, it cannot be read."));
  return text.str();
}

}  // namespace replk
