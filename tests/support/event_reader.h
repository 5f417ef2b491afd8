// Reads TensorBoard's event files by definition: every checksum bit by bit, every field by its number.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace replk::test {

/// CRC-32C: the remainder of a polynomial division, least significant bit first.
inline std::uint32_t crc32c(const std::string& data) {
  std::uint32_t crc = 0xFFFFFFFF;
  for (const char c : data) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ 0x82F63B78 : crc >> 1;
  }
  return ~crc;
}

inline std::uint32_t masked(std::uint32_t crc) { return (crc >> 15 | crc << 17) + 0xA282EAD8; }

/// The data of the records of a TFRecord file. Throws std::runtime_error where a checksum is wrong or the
/// file ends within a record.
inline std::vector<std::string> tf_records(const std::string& file) {
  std::vector<std::string> records;
  std::size_t at = 0;
  const auto take = [&](std::size_t bytes) {
    if (bytes > file.size() - at) throw std::runtime_error("the file ends within a record");
    at += bytes;
    return file.substr(at - bytes, bytes);
  };
  const auto checked = [&](std::size_t bytes) {
    const std::string data = take(bytes);
    std::uint32_t crc = 0;
    std::memcpy(&crc, take(4).data(), 4);
    if (crc != masked(crc32c(data))) throw std::runtime_error("a wrong checksum");
    return data;
  };
  while (at < file.size()) {
    std::uint64_t length = 0;
    std::memcpy(&length, checked(8).data(), 8);
    records.push_back(checked(length));
  }
  return records;
}

/// A field of a protobuf message: an integer, or the bytes of anything else.
struct Field {
  int number;
  std::uint64_t integer = 0;
  std::string bytes = {};
};

inline std::vector<Field> fields_of(const std::string& message) {
  std::vector<Field> fields;
  std::size_t at = 0;
  const auto varint = [&] {
    std::uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<unsigned char>(message.at(at++));
      value |= std::uint64_t{byte & 127U} << shift;
      if (byte < 128) return value;
    }
  };
  while (at < message.size()) {
    const std::uint64_t key = varint();
    Field field{.number = static_cast<int>(key >> 3)};
    const int wire_type = static_cast<int>(key & 7);
    if (wire_type == 0) {
      field.integer = varint();
    } else {
      const std::size_t size = wire_type == 1 ? 8 : wire_type == 5 ? 4 : wire_type == 2 ? varint() : 1 << 30;
      if (size > message.size() - at) throw std::runtime_error("a message ends within a field");
      field.bytes = message.substr(at, size);
      at += size;
    }
    fields.push_back(field);
  }
  return fields;
}

template <class T>
T number_in(const std::string& bytes) {
  if (bytes.size() != sizeof(T)) throw std::runtime_error("a number of another size");
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

struct Event {
  double wall_time = 0;
  std::int64_t step = 0;
  std::string version = {};
  bool session_start = false;
  std::map<std::string, float> scalars = {};
};

inline std::vector<Event> read_events(const std::string& file) {
  std::vector<Event> events;
  for (const std::string& record : tf_records(file)) {
    Event event;
    for (const Field& field : fields_of(record)) {
      if (field.number == 1) event.wall_time = number_in<double>(field.bytes);
      if (field.number == 2) event.step = static_cast<std::int64_t>(field.integer);
      if (field.number == 3) event.version = field.bytes;
      if (field.number == 7) event.session_start = fields_of(field.bytes).at(0).integer == 1;
      if (field.number != 5) continue;
      for (const Field& value : fields_of(field.bytes)) {
        const auto parts = fields_of(value.bytes);  // tag, number
        if (!event.scalars.emplace(parts.at(0).bytes, number_in<float>(parts.at(1).bytes)).second)
          throw std::runtime_error("a tag twice");
      }
    }
    events.push_back(event);
  }
  return events;
}

/// The event files of a folder, in the order in which TensorBoard reads them.
inline std::vector<std::filesystem::path> event_files(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().filename().string().starts_with("events.out.tfevents.")) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace replk::test
