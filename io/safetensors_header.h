// The JSON header of a safetensors file, read with suspicion. Used by io/safetensors.cpp.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "core/dtype.h"
#include "core/shape.h"

namespace replk::safetensors {

inline constexpr std::uint64_t kLengthBytes = 8;               // of the header's length, before the header
inline constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the reference implementation
inline constexpr const char* kMetadataKey = "__metadata__";

/// Where a tensor lies: bytes [begin, end) of the data, which follow the header.
struct Entry {
  DType dtype = DType::f32;
  Shape shape;
  std::uint64_t begin = 0, end = 0;
};

struct Header {
  std::map<std::string, std::string> metadata;
  std::map<std::string, Entry> entries;
};

/// Parses and checks the header `json` of a file with `data_bytes` bytes of data. What it returns can be
/// trusted: sizes match shapes and dtypes, and the entries cover the data exactly once. Throws FileError
/// naming `file`.
Header parse_header(std::string_view json, std::uint64_t data_bytes, const std::string& file);

/// The header's JSON text for these entries, in the order of their places in the data.
std::string format_header(const Header& header);

}  // namespace replk::safetensors
