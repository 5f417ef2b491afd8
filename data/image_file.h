// The structure of PNG and JPEG files, checked before a decoder sees them.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace replk {

enum class ImageFormat { png, jpeg };

/// What the header of an image file promises.
struct ImageHeader {
  ImageFormat format = ImageFormat::png;
  std::int64_t height = 0, width = 0;
};

/// Walks through the file's parts up to its end mark, without decoding pixels.
///
/// PNG: every chunk must lie inside the file and have the right checksum, up to IEND. JPEG: every segment
/// must lie inside the file, up to the end-of-image mark; a decoder alone would fill the rest of a cut file
/// with grey. Sides are at most 16384 and 2^26 pixels, and no more than the file's size can encode, so that a
/// tiny file cannot ask for much memory.
/// Throws FileError naming `name`, the byte offset and what was expected there.
/// Source: PNG specification (W3C 2003) sections 5 and 11, JPEG (ITU-T T.81) annex B.
ImageHeader check_image_file(std::span<const std::uint8_t> bytes, const std::string& name);

}  // namespace replk
