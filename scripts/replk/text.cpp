#include "scripts/replk/text.h"

#include <fmt/format.h>

#include <cmath>

namespace replk {
namespace {

bool starts_character(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; }

// Three significant digits: 1.23, 12.3, 123.
std::string three_digits(double value) {
  const double size = std::abs(value);
  return fmt::format("{:.{}f}", value, size < 9.995 ? 2 : size < 99.95 ? 1 : 0);
}

}  // namespace

std::string format_duration(double seconds) {
  constexpr double kLongest = 1e9;
  if (!(seconds >= 0) || seconds > kLongest) return "?";
  if (seconds < 9.95) return fmt::format("{:.1f}s", seconds);
  const auto s = static_cast<std::int64_t>(std::llround(seconds));
  if (s < 60) return fmt::format("{}s", s);
  if (s < 3600) return fmt::format("{}m{:02}s", s / 60, s % 60);
  if (s < 86400) return fmt::format("{}h{:02}m", s / 3600, s % 3600 / 60);
  return fmt::format("{}d{:02}h", s / 86400, s % 86400 / 3600);
}

std::string format_count(std::int64_t count) {
  const std::string digits = std::to_string(count);
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    const bool group_begins = (digits.size() - i) % 3 == 0 && i > 0 && digits[i - 1] != '-';
    if (group_begins) text += ',';
    text += digits[i];
  }
  return text;
}

std::string format_si(double value) {
  constexpr const char* kUnits[] = {"", " k", " M", " G", " T", " P"};
  std::size_t unit = 0;
  while (std::abs(value) >= 999.5 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  if (unit == 0 && value == std::floor(value)) return fmt::format("{:.0f}", value);
  return three_digits(value) + kUnits[unit];
}

std::string format_bytes(std::uint64_t bytes) {
  std::string text = format_si(static_cast<double>(bytes));
  return text + (text.find(' ') == std::string::npos ? " B" : "B");
}

std::string format_mib(std::int64_t bytes) {
  return fmt::format("{:.1f} MiB", std::ldexp(static_cast<double>(bytes), -20));
}

std::string format_percent(double share, int decimals) {
  return std::isnan(share) ? "-" : fmt::format("{:.{}f} %", 100 * share, decimals);
}

std::size_t text_columns(std::string_view text) {
  std::size_t columns = 0;
  for (const char byte : text) columns += starts_character(byte);
  return columns;
}

std::string cut_text(std::string_view text, std::size_t columns) {
  if (text_columns(text) <= columns) return std::string(text);
  if (columns == 0) return "";
  std::size_t end = 0, seen = 0;
  while (end < text.size() && (!starts_character(text[end]) || seen < columns - 1))
    seen += starts_character(text[end++]);
  return std::string(text.substr(0, end)) + "…";
}

std::string printable(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = '?';
  return result;
}

std::string join(const std::vector<std::string>& items, std::string_view separator) {
  std::string text;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i) text += separator;
    text += items[i];
  }
  return text;
}

std::string shell_word(const std::string& word) {
  const char* plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/+:@%,=";
  if (!word.empty() && word.find_first_not_of(plain) == std::string::npos) return word;
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

}  // namespace replk
