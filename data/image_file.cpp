#include "data/image_file.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "core/error.h"

namespace replk {
namespace {

constexpr std::int64_t kMaxSide = 16384;
constexpr std::int64_t kMaxPixels = std::int64_t{1} << 26;
constexpr std::int64_t kPngMostPerByte = 1032;   // deflate cannot pack tighter
constexpr std::int64_t kJpegMostPerByte = 1024;  // pixels: at least half a bit for a block of 8x8
constexpr std::array<std::uint8_t, 8> kPngMagic = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

// Numbers of one file, by offset; reading past the end is an error that says where.
class Bytes {
 public:
  Bytes(std::span<const std::uint8_t> bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  std::int64_t size() const { return static_cast<std::int64_t>(bytes_.size()); }

  template <class... Message>
  [[noreturn]] void fail(std::int64_t offset, const Message&... message) const {
    throw FileError(str(name_, ": byte ", offset, ": ", message...));
  }

  void require(std::int64_t offset, std::int64_t count, const char* what) const {
    if (count > size() - offset)
      fail(offset, count, " bytes of ", what, " expected, the file ends after ", size() - offset, ".");
  }

  // `count` bytes at `offset` as a number, the highest first.
  std::uint32_t number(std::int64_t offset, int count, const char* what) const {
    require(offset, count, what);
    std::uint32_t value = 0;
    for (int i = 0; i < count; ++i) value = value << 8 | at(offset + i);
    return value;
  }

  std::uint8_t at(std::int64_t offset) const { return bytes_[static_cast<std::size_t>(offset)]; }
  const std::uint8_t* from(std::int64_t offset) const { return bytes_.data() + offset; }

  void check_sides(std::int64_t offset, std::int64_t height, std::int64_t width) const {
    if (height < 1 || width < 1 || height > kMaxSide || width > kMaxSide || height * width > kMaxPixels)
      fail(offset, "sides in [1, ", kMaxSide, "] and at most ", kMaxPixels, " pixels expected, got ", height,
           "x", width, ".");
  }

  // `packed` is what the picture needs at the very least, in bytes of this file.
  void check_claim(std::int64_t offset, std::int64_t packed, std::int64_t height, std::int64_t width) const {
    if (packed > size())
      fail(offset, "at least ", packed, " bytes expected of a picture of ", height, "x", width,
           ", the file has ", size(), ".");
  }

 private:
  std::span<const std::uint8_t> bytes_;
  const std::string& name_;
};

// Bits of a pixel for PNG's colour type and bit depth; 0 when there is no such type.
std::int64_t png_pixel_bits(std::uint32_t depth, std::uint32_t colour) {
  constexpr std::array<std::int64_t, 7> kChannels = {1, 0, 3, 1, 2, 0, 4};
  const bool valid_depth = depth == 1 || depth == 2 || depth == 4 || depth == 8 || depth == 16;
  return colour < kChannels.size() && valid_depth ? kChannels[colour] * depth : 0;
}

ImageHeader check_png(const Bytes& file) {
  constexpr std::int64_t kHeaderBytes = 13;
  ImageHeader header{.format = ImageFormat::png};
  for (std::int64_t offset = kPngMagic.size();;) {
    const std::int64_t length = file.number(offset, 4, "a PNG chunk");
    file.require(offset + 4, 4, "a PNG chunk");
    const std::string_view type(reinterpret_cast<const char*>(file.from(offset + 4)), 4);
    file.require(offset + 8, length + 4, "a PNG chunk");
    const auto checksum = crc32(0, file.from(offset + 4), static_cast<uInt>(length + 4));
    if (checksum != file.number(offset + 8 + length, 4, "a PNG chunk"))
      file.fail(offset, "a PNG chunk with the right checksum expected, this one is damaged.");
    if (header.height == 0) {
      if (type != "IHDR" || length != kHeaderBytes) file.fail(offset, "the PNG header expected.");
      header.width = file.number(offset + 8, 4, "the PNG header");
      header.height = file.number(offset + 12, 4, "the PNG header");
      file.check_sides(offset + 8, header.height, header.width);
      const std::int64_t bits = png_pixel_bits(file.at(offset + 16), file.at(offset + 17)) * header.width;
      if (bits == 0) file.fail(offset + 16, "a PNG bit depth and colour type expected.");
      file.check_claim(offset + 8, header.height * (1 + bits / 8) / kPngMostPerByte, header.height,
                       header.width);
    }
    offset += length + 12;
    if (type == "IEND") return header;
  }
}

// The Huffman tables in [begin, end): class and number, how many codes of 1 to 16 bits, then their symbols.
// The decoder keeps room for 256 symbols and believes the counts.
void check_huffman_tables(const Bytes& file, std::int64_t begin, std::int64_t end) {
  constexpr std::int64_t kLengths = 16, kMostSymbols = 256;
  for (std::int64_t offset = begin; offset < end;) {
    std::int64_t symbols = 0, codes = 0;  // the second in units of 2^-16 of all there are
    for (std::int64_t bits = 1; bits <= kLengths; ++bits) {
      if (offset + bits >= end) file.fail(offset, "a whole JPEG Huffman table expected, it is cut.");
      const std::int64_t count = file.at(offset + bits);
      symbols += count;
      codes += count << (kLengths - bits);
    }
    if (symbols > kMostSymbols || codes > std::int64_t{1} << kLengths)
      file.fail(offset, "a JPEG Huffman table of at most ", kMostSymbols,
                " symbols whose codes differ expected, got ", symbols, " symbols.");
    offset += 1 + kLengths + symbols;
    if (offset > end) file.fail(end, "a whole JPEG Huffman table expected, it is cut.");
  }
}

bool is_frame_header(std::uint8_t mark) {
  return mark >= 0xc0 && mark <= 0xcf && mark != 0xc4 && mark != 0xc8 && mark != 0xcc;
}

// The offset of the next mark (a byte 0xff and one that is neither 0, nor a restart, nor another 0xff).
std::int64_t next_mark(const Bytes& file, std::int64_t offset) {
  for (; offset + 1 < file.size(); ++offset) {
    const std::uint8_t code = file.at(offset + 1);
    const bool restart = code >= 0xd0 && code <= 0xd7;
    if (file.at(offset) == 0xff && code != 0 && code != 0xff && !restart) return offset;
  }
  file.fail(file.size(), "more JPEG data up to the end-of-image mark expected, the file ends here.");
}

ImageHeader check_jpeg(const Bytes& file) {
  constexpr std::uint8_t kEndOfImage = 0xd9, kHuffmanTables = 0xc4;
  ImageHeader header{.format = ImageFormat::jpeg};
  for (std::int64_t offset = next_mark(file, 2);; offset = next_mark(file, offset)) {
    const std::uint8_t mark = file.at(offset + 1);
    if (mark == kEndOfImage) break;
    const std::int64_t length = file.number(offset + 2, 2, "a JPEG segment");
    if (length < 2) file.fail(offset + 2, "a JPEG segment of at least 2 bytes expected, got ", length, ".");
    file.require(offset + 2, length, "a JPEG segment");
    if (mark == kHuffmanTables) check_huffman_tables(file, offset + 4, offset + 2 + length);
    if (is_frame_header(mark)) {
      header.height = file.number(offset + 5, 2, "a JPEG frame header");
      header.width = file.number(offset + 7, 2, "a JPEG frame header");
      file.check_sides(offset + 5, header.height, header.width);
      file.check_claim(offset + 5, header.height * header.width / kJpegMostPerByte, header.height,
                       header.width);
    }
    offset += 2 + length;
  }
  if (header.height == 0) file.fail(file.size(), "a JPEG frame header expected, there is none.");
  return header;
}

}  // namespace

ImageHeader check_image_file(std::span<const std::uint8_t> bytes, const std::string& name) {
  const Bytes file(bytes, name);
  if (bytes.size() >= kPngMagic.size() && std::equal(kPngMagic.begin(), kPngMagic.end(), bytes.begin()))
    return check_png(file);
  if (bytes.size() >= 3 && bytes[0] == 0xff && bytes[1] == 0xd8 && bytes[2] == 0xff) return check_jpeg(file);
  file.fail(0, "a PNG or JPEG picture expected, these bytes are neither.");
}

}  // namespace replk
