// Bytes as text that may stand in HTML and JSON.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace replk {

/// Base64 (RFC 4648, section 4), padded with "=".
std::string base64(std::span<const std::uint8_t> bytes);

}  // namespace replk
