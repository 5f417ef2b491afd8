// Numbers and names as people read them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace replk {

/// "0.8s", "42s", "3m12s", "1h05m", "2d03h"; "?" for what is negative or not finite.
std::string format_duration(double seconds);
/// "1,234,567"
std::string format_count(std::int64_t count);
/// Three significant digits and a unit: "982", "15.3 k", "4.57 M", "15.4 G".
std::string format_si(double value);
/// "812 B", "1.30 MB" (powers of 1000)
std::string format_bytes(std::uint64_t bytes);
/// "30.2 MiB" (of 2^20 bytes): memory.
std::string format_mib(std::int64_t bytes);
/// A share in [0, 1] as "91.34 %"; "-" for NaN.
std::string format_percent(double share, int decimals = 2);

/// Columns that UTF-8 text takes on a terminal, one for each character.
std::size_t text_columns(std::string_view text);
/// The beginning of `text` that fits into `columns`, its last character replaced by "…" if it does not fit.
std::string cut_text(std::string_view text, std::size_t columns);
/// `text` without control characters (a file's name may hold anything), each replaced by "?".
std::string printable(std::string_view text);
/// "a, b, c"
std::string join(const std::vector<std::string>& items, std::string_view separator = ", ");
/// `word` as a shell takes it for one word: quoted where it must be.
std::string shell_word(const std::string& word);

}  // namespace replk
