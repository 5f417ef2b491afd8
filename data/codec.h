// Picture files to Image and back, through stb.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "data/image.h"

namespace replk {

/// Decodes the bytes of a PNG or JPEG file; `name` is what errors call it.
///
/// The result has 1 (grey) or 3 (RGB) channels, 8 bits each: as in the file, or converted when `channels` is
/// 1 or 3. Opacity is dropped. Throws FileError for what check_image_file refuses or the decoder finds wrong.
Image decode_image(std::span<const std::uint8_t> bytes, const std::string& name, std::int64_t channels = 0);

/// decode_image of a file of at most 256 MiB.
Image load_image(const std::filesystem::path& path, std::int64_t channels = 0);

/// The picture as the bytes of a PNG file. 1 to 4 channels.
std::vector<std::uint8_t> encode_png(const Image& image);

/// The picture as the bytes of a JPEG file, quality in [1, 100]. 1 or 3 channels.
std::vector<std::uint8_t> encode_jpeg(const Image& image, int quality = 90);

}  // namespace replk
