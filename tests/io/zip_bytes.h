// Zip archives by hand, with any claim in them.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace replk::test {

/// The number's bytes, little endian.
template <class T>
std::string raw(T value) {
  std::string text(sizeof(T), ' ');
  std::memcpy(text.data(), &value, sizeof(T));
  return text;
}

/// CRC-32, eight bits at a time from a table.
inline std::uint32_t crc_of(const std::string& text) {
  static const std::array<std::uint32_t, 256> kTable = [] {
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t i = 0; i < table.size(); ++i) {
      table[i] = i;
      for (int bit = 0; bit < 8; ++bit) table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xEDB88320U : 0);
    }
    return table;
  }();
  std::uint32_t crc = ~0U;
  for (const char c : text) crc = crc >> 8 ^ kTable[(crc ^ static_cast<unsigned char>(c)) & 255];
  return ~crc;
}

/// One entry of a zip archive; what it claims can be set to anything.
struct ZipEntry {
  std::string name, data;  // data: as stored
  std::uint16_t method = 0;
  std::int64_t claimed_size = -1;  // unpacked; -1: the size of the data
  std::int64_t claimed_crc = -1;
};

inline std::string zip_archive(const std::vector<ZipEntry>& entries) {
  std::string body, directory;
  for (const ZipEntry& entry : entries) {
    const auto size = static_cast<std::uint32_t>(entry.data.size());
    const auto unpacked = entry.claimed_size < 0 ? size : static_cast<std::uint32_t>(entry.claimed_size);
    const auto crc =
        entry.claimed_crc < 0 ? crc_of(entry.data) : static_cast<std::uint32_t>(entry.claimed_crc);
    const std::string common = raw<std::uint16_t>(20) + raw<std::uint16_t>(0) + raw(entry.method) +
                               raw<std::uint32_t>(0x00210000) + raw(crc) + raw(size) + raw(unpacked) +
                               raw(static_cast<std::uint16_t>(entry.name.size())) + raw<std::uint16_t>(0);
    directory += "PK\x01\x02" + raw<std::uint16_t>(20) + common + raw<std::uint16_t>(0) +
                 raw<std::uint16_t>(0) + raw<std::uint16_t>(0) + raw<std::uint32_t>(0) +
                 raw(static_cast<std::uint32_t>(body.size())) + entry.name;
    body += "PK\x03\x04" + common + entry.name + entry.data;
  }
  const auto count = static_cast<std::uint16_t>(entries.size());
  return body + directory + "PK\x05\x06" + raw<std::uint32_t>(0) + raw(count) + raw(count) +
         raw(static_cast<std::uint32_t>(directory.size())) + raw(static_cast<std::uint32_t>(body.size())) +
         raw<std::uint16_t>(0);
}

}  // namespace replk::test
