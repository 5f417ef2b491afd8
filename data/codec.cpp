#include "data/codec.h"

#include <cstddef>
#include <cstdlib>

// The only place where stb is compiled. No files and only the formats we announce. Its memory is zeroed,
// since it reads tables that a JPEG file may not have defined, and no allocation goes beyond what the
// picture's header justifies, since a few bytes of packed data can unpack to gigabytes.
namespace {
thread_local std::size_t largest_allocation = 0;
void* allocate_at_most(std::size_t bytes) {
  return bytes > largest_allocation ? nullptr : std::calloc(bytes, 1);
}
void* reallocate_at_most(void* memory, std::size_t bytes) {
  return bytes > largest_allocation ? nullptr : std::realloc(memory, bytes);
}
}  // namespace
#define STBI_MALLOC(bytes) allocate_at_most(bytes)
#define STBI_REALLOC(memory, bytes) reallocate_at_most(memory, bytes)
#define STBI_FREE(memory) std::free(memory)
#define STBI_NO_STDIO
#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#define STBI_MAX_DIMENSIONS 16384
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#include <stb_image.h>
#define STBI_WRITE_NO_STDIO
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb_image_write.h>

#include <limits>
#include <memory>

#include "core/error.h"
#include "data/file_reader.h"
#include "data/image_file.h"

namespace replk {
namespace {

constexpr std::int64_t kMaxFileBytes = std::int64_t{1} << 28;
static_assert(kMaxFileBytes <= std::numeric_limits<int>::max(), "stb counts bytes in an int");

void append(void* context, void* data, int size) {
  auto& bytes = *static_cast<std::vector<std::uint8_t>*>(context);
  const auto* first = static_cast<const std::uint8_t*>(data);
  bytes.insert(bytes.end(), first, first + size);
}

// Checks what an encoder is given.
void check_encodable(const char* op, const Image& image, std::int64_t most_channels) {
  constexpr std::int64_t kMaxSide = 65500;  // JPEG has 16 bits for a side
  check(image.height >= 1 && image.width >= 1 && image.height <= kMaxSide && image.width <= kMaxSide &&
            image.channels >= 1 && image.channels <= most_channels,
        op, ": sides in [1, ", kMaxSide, "] and 1 to ", most_channels, " channels expected, got ", image,
        ".");
  check(static_cast<std::int64_t>(image.pixels.size()) == image.height * image.width * image.channels, op,
        ": ", image, " bytes expected, got ", image.pixels.size(), ".");
}

}  // namespace

Image decode_image(std::span<const std::uint8_t> bytes, const std::string& name, std::int64_t channels) {
  check(channels == 0 || channels == 1 || channels == 3, "decode_image: 0, 1 or 3 channels expected, got ",
        channels, ".");
  if (static_cast<std::int64_t>(bytes.size()) > kMaxFileBytes)
    throw FileError(str(name, ": at most ", kMaxFileBytes, " bytes expected, got ", bytes.size(), "."));
  const ImageHeader header = check_image_file(bytes, name);
  // 16 bytes a pixel are four channels of 16 bits, twice; the packed data is collected by doubling.
  largest_allocation =
      static_cast<std::size_t>(header.height * header.width) * 16 + bytes.size() * 2 + (std::size_t{1} << 20);
  int width = 0, height = 0, in_file = 0;
  const std::unique_ptr<stbi_uc, decltype(&stbi_image_free)> decoded(
      stbi_load_from_memory(bytes.data(), static_cast<int>(bytes.size()), &width, &height, &in_file, 0),
      stbi_image_free);
  const char* format = header.format == ImageFormat::png ? "PNG" : "JPEG";
  if (!decoded)
    throw FileError(str(name, ": byte 0: a ", format, " picture of ", header.height, "x", header.width,
                        " expected, the decoder says: ", stbi_failure_reason(), "."));
  Image image{height, width, in_file, {}};
  image.pixels.assign(decoded.get(), decoded.get() + std::int64_t{height} * width * in_file);
  return convert_channels(std::move(image), channels ? channels : in_file <= 2 ? 1 : 3);
}

Image load_image(const std::filesystem::path& path, std::int64_t channels) {
  return decode_image(read_file(path, kMaxFileBytes), path.string(), channels);
}

std::vector<std::uint8_t> encode_png(const Image& image) {
  check_encodable("encode_png", image, 4);
  std::vector<std::uint8_t> bytes;
  const bool written = stbi_write_png_to_func(
      append, &bytes, static_cast<int>(image.width), static_cast<int>(image.height),
      static_cast<int>(image.channels), image.pixels.data(), static_cast<int>(image.width * image.channels));
  check(written, "encode_png: no memory for ", image, ".");
  return bytes;
}

std::vector<std::uint8_t> encode_jpeg(const Image& image, int quality) {
  check_encodable("encode_jpeg", image, 3);
  check(image.channels != 2 && quality >= 1 && quality <= 100,
        "encode_jpeg: 1 or 3 channels and a quality in [1, 100] expected, got ", image, " and ", quality,
        ".");
  std::vector<std::uint8_t> bytes;
  const bool written =
      stbi_write_jpg_to_func(append, &bytes, static_cast<int>(image.width), static_cast<int>(image.height),
                             static_cast<int>(image.channels), image.pixels.data(), quality);
  check(written, "encode_jpeg: no memory for ", image, ".");
  return bytes;
}

}  // namespace replk
