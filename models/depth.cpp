#include "models/depth.h"

#include <algorithm>
#include <charconv>
#include <sstream>
#include <vector>

#include "core/error.h"

namespace replk {
namespace {

constexpr std::int64_t kBlocksInGroup = 4;

// The first group of a stage, or of what follows the last one.
std::int64_t first_group(const RepLKNetConfig& config, std::int64_t stage) {
  std::int64_t group = 1;
  for (std::int64_t i = 0; i < stage; ++i) {
    const std::int64_t blocks = 2 * config.layers[static_cast<std::size_t>(i)];
    group += std::max<std::int64_t>((blocks + kBlocksInGroup - 1) / kBlocksInGroup, 1);
  }
  return group;
}

std::vector<std::string> parts_of(const std::string& name) {
  std::vector<std::string> parts;
  std::istringstream stream(name);
  for (std::string part; std::getline(stream, part, '.');) parts.push_back(part);
  return parts;
}

}  // namespace

std::int64_t depth_groups(const RepLKNetConfig& config) {
  return first_group(config, static_cast<std::int64_t>(config.layers.size())) + 1;
}

std::int64_t depth_group(const RepLKNetConfig& config, const std::string& parameter) {
  const std::vector<std::string> parts = parts_of(parameter);
  const auto stages = static_cast<std::int64_t>(config.layers.size());
  const auto number = [&](std::size_t part, std::int64_t below) {
    std::int64_t value = -1;
    if (part < parts.size()) {
      const std::string& text = parts[part];
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
      if (error != std::errc() || end != text.data() + text.size()) value = -1;
    }
    check(value >= 0 && value < below, "depth_group: a parameter of this network expected, got '", parameter,
          "'.");
    return value;
  };
  const std::string& head = parts.empty() ? parameter : parts[0];
  if (head == "stem") return 0;
  if (head == "norm" || head == "head") return depth_groups(config) - 1;
  if (head == "transitions") return first_group(config, number(1, stages - 1) + 1) - 1;
  check(head == "stages" && parts.size() > 2, "depth_group: a parameter of this network expected, got '",
        parameter, "'.");
  const std::int64_t stage = number(1, stages);
  if (parts[2] == "norm") return first_group(config, stage + 1) - 1;
  const std::int64_t blocks = 2 * config.layers[static_cast<std::size_t>(stage)];
  return first_group(config, stage) + number(3, blocks) / kBlocksInGroup;
}

}  // namespace replk
