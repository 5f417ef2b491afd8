#include "data/image_folder.h"

#include "core/error.h"
#include "data/codec.h"
#include "data/open_dataset.h"
#include "tests/data/data_support.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

namespace {

// A picture without sharp edges, which JPEG keeps well.
Image smooth_image(std::int64_t height, std::int64_t width, std::int64_t channels) {
  Image image = Image::filled(height, width, channels);
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x)
      for (std::int64_t c = 0; c < channels; ++c)
        image.at(y, x, c) = static_cast<std::uint8_t>(40 + 3 * y + 2 * x + 20 * c);
  return image;
}

Image decode(const Bytes& bytes) { return decode_image(bytes, "picture"); }

Bytes cut(const Bytes& bytes, std::size_t length) {
  return Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length));
}

void append_number(Bytes& bytes, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<std::uint8_t>(value >> shift));
}

void append_chunk(Bytes& png, const std::string& type, const Bytes& data) {
  append_number(png, static_cast<std::uint32_t>(data.size()));
  Bytes checked(type.begin(), type.end());
  checked.insert(checked.end(), data.begin(), data.end());
  png.insert(png.end(), checked.begin(), checked.end());
  append_number(png, static_cast<std::uint32_t>(crc32(0, checked.data(), static_cast<uInt>(checked.size()))));
}

// A PNG file whose header claims height x width grey bytes and whose data unpacks to `raw`.
Bytes png_claiming(std::uint32_t height, std::uint32_t width, const Bytes& raw) {
  Bytes png = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  Bytes header;
  append_number(header, width);
  append_number(header, height);
  for (const int value : {8, 0, 0, 0, 0}) header.push_back(static_cast<std::uint8_t>(value));
  append_chunk(png, "IHDR", header);
  uLongf size = compressBound(raw.size());
  Bytes packed(size);
  compress(packed.data(), &size, raw.data(), raw.size());
  packed.resize(size);
  append_chunk(png, "IDAT", packed);
  append_chunk(png, "IEND", {});
  return png;
}

// Where the segment with this mark begins.
std::size_t find_segment(const Bytes& jpeg, std::uint8_t mark) {
  for (std::size_t at = 2; at + 1 < jpeg.size(); ++at)
    if (jpeg[at] == 0xff && jpeg[at + 1] == mark) return at;
  FAIL("no such segment");
  return 0;
}

}  // namespace

TEST_CASE("data/codec/png_round_trip") {
  for (const std::int64_t channels : {1, 3}) {
    const Image image = random_image(13, 7, channels, 3);
    CHECK(decode(encode_png(image)) == image);
    CHECK(decode_image(encode_png(image), "x", 1) == convert_channels(image, 1));
    CHECK(decode_image(encode_png(image), "x", 3) == convert_channels(image, 3));
  }
  // Opacity is dropped.
  const Image with_opacity = random_image(5, 6, 4, 4);
  const Image decoded = decode(encode_png(with_opacity));
  REQUIRE(decoded.channels == 3);
  for (std::int64_t c = 0; c < 3; ++c) CHECK(decoded.at(4, 2, c) == with_opacity.at(4, 2, c));
  CHECK(decode(encode_png(random_image(5, 6, 2, 4))).channels == 1);
}

TEST_CASE("data/codec/jpeg_round_trip") {
  for (const std::int64_t channels : {1, 3}) {
    const Image image = smooth_image(19, 30, channels);
    const Image decoded = decode(encode_jpeg(image, 95));
    REQUIRE(decoded.height == 19);
    REQUIRE(decoded.width == 30);
    for (std::size_t i = 0; i < image.pixels.size(); i += static_cast<std::size_t>(channels))
      CHECK(std::abs(int{convert_channels(decoded, 1).pixels[i / static_cast<std::size_t>(channels)]} -
                     int{convert_channels(image, 1).pixels[i / static_cast<std::size_t>(channels)]}) <= 8);
  }
}

TEST_CASE("data/codec/cut_anywhere_is_refused") {
  for (const Bytes& bytes : {encode_png(random_image(9, 11, 3, 1)), encode_jpeg(smooth_image(20, 17, 3))})
    for (std::size_t length = 0; length < bytes.size(); ++length) {
      INFO("cut at " << length << " of " << bytes.size());
      CHECK_THROWS_AS(decode(cut(bytes, length)), FileError);
    }
  check_error([] { decode({}); }, {"picture: byte 0: ", "PNG or JPEG"});
  check_error([] { decode(random_bytes(1000, 5)); }, {"picture: byte 0: ", "PNG or JPEG"});
  const Bytes png = encode_png(random_image(9, 11, 3, 1));
  check_error([&] { decode(cut(png, 30)); }, {"picture: byte 16: ", "17 bytes of a PNG chunk", "after 14"});
}

TEST_CASE("data/codec/damaged_bytes_are_refused_or_decoded") {
  const Bytes png = encode_png(random_image(9, 11, 3, 1));
  for (std::size_t at = 0; at < png.size(); ++at) {
    Bytes bad = png;
    bad[at] ^= 0x41;
    INFO("byte " << at);
    CHECK_THROWS_AS(decode(bad), FileError);  // every byte is under a checksum, or is one
  }
  const Bytes jpeg = encode_jpeg(smooth_image(20, 17, 3));
  int refused = 0;
  for (std::size_t at = 0; at < jpeg.size(); ++at)
    for (const int flip : {0x01, 0x41, 0xff}) {
      Bytes bad = jpeg;
      bad[at] = static_cast<std::uint8_t>(bad[at] ^ flip);
      try {
        decode(bad);
      } catch (const FileError&) {
        ++refused;
      }
    }
  CHECK(refused > 100);
}

TEST_CASE("data/codec/headers_that_promise_too_much_cost_no_memory") {
  check_error([] { decode(png_claiming(20000, 1, {0, 0})); }, {"byte 16: ", "sides in [1, 16384]"});
  check_error([] { decode(png_claiming(0, 1, {0, 0})); }, {"byte 16: ", "got 0x1"});
  check_error([] { decode(png_claiming(16384, 16384, {0, 0})); }, {"pixels expected, got 16384x16384"});
  check_error([] { decode(png_claiming(8000, 8000, {0, 0})); }, {"a picture of 8000x8000", "the file has"});
  CHECK(decode(png_claiming(1, 1, {0, 77})).pixels == Bytes{77});
  // 100 MB of packed zeros behind a header of one pixel.
  check_error([] { decode(png_claiming(1, 1, Bytes(100'000'000))); }, {"picture", "decoder", "outofmem"});
  // A JPEG of 8x8 whose frame header is made to say 16000x4000.
  Bytes jpeg = encode_jpeg(smooth_image(8, 8, 1));
  const std::size_t frame = find_segment(jpeg, 0xc0);
  for (const auto& [at, value] :
       {std::pair{5, 16000 >> 8}, {6, 16000 & 255}, {7, 4000 >> 8}, {8, 4000 & 255}})
    jpeg[frame + static_cast<std::size_t>(at)] = static_cast<std::uint8_t>(value);
  check_error([&] { decode(jpeg); }, {"a picture of 16000x4000", "the file has"});
}

TEST_CASE("data/codec/huffman_tables_that_do_not_fit_are_refused") {
  const Bytes jpeg = encode_jpeg(smooth_image(8, 8, 1));
  const std::size_t table = find_segment(jpeg, 0xc4) + 4;  // its class, then the counts for 1 to 16 bits
  const auto with_count = [&](std::size_t bits, std::uint8_t count) {
    Bytes bad = jpeg;
    bad[table + bits] = count;
    return bad;
  };
  const std::string at = "byte " + std::to_string(table) + ": ";
  check_error([&] { decode(with_count(1, 3)); }, {at, "Huffman"});  // three codes of one bit
  check_error([&] { decode(with_count(16, 255)); },
              {at, "256 symbols"});  // more symbols than there is room for
  check_error([&] { decode(with_count(16, 120)); }, {"Huffman table"});
}

TEST_CASE("data/codec/encoder_errors") {
  check_error([] { encode_png({}); }, {"encode_png", "0x0x0"});
  check_error([] { encode_png({2, 2, 1, {1, 2, 3}}); }, {"encode_png", "2x2x1", "got 3"});
  check_error([] { encode_jpeg(random_image(2, 2, 4, 1)); }, {"encode_jpeg", "2x2x4"});
  check_error([] { encode_jpeg(random_image(2, 2, 3, 1), 0); }, {"encode_jpeg", "quality"});
}

TEST_CASE("data/image_folder/reads") {
  const TemporaryFolder folder;
  const auto& root = folder.path();
  const Image grey = random_image(6, 5, 1, 1), colour = random_image(4, 8, 3, 2);
  write_bytes(root / "train/dog/b.png", encode_png(grey));
  write_bytes(root / "train/dog/a.PNG", encode_png(colour));
  write_bytes(root / "train/cat/1.jpeg", encode_jpeg(smooth_image(8, 8, 3)));
  write_bytes(root / "train/cat/notes.txt", {'x'});
  write_bytes(root / "train/cat/.hidden.png", {'x'});
  write_bytes(root / "train/README", {'x'});
  write_bytes(root / "val/dog/c.jpg", encode_png(colour));  // the bytes decide, not the name

  const auto train = open_dataset(root.string(), Split::train);
  CHECK(train->classes() == std::vector<std::string>{"cat", "dog"});
  REQUIRE(train->size() == 3);
  CHECK(train->label(0) == 0);
  CHECK(train->get(1).image == colour);
  CHECK(train->get(1).label == 1);
  CHECK(train->get(2).image == convert_channels(grey, 3));
  CHECK(train->sample_name(2) == (root / "train/dog/b.png").string());
  CHECK(open_image_folder(root, Split::train, 1)->get(2).image == grey);

  // A class that val/ lacks does not shift the labels of the others; test falls back on val.
  for (const Split split : {Split::validation, Split::test}) {
    const auto part = open_image_folder(root, split);
    CHECK(part->classes() == train->classes());
    REQUIRE(part->size() == 1);
    CHECK(part->label(0) == 1);
  }
  // Without train/ the root's sub-folders are the classes.
  CHECK(open_dataset((root / "train").string(), Split::train)->size() == 3);
}

TEST_CASE("data/image_folder/errors") {
  const TemporaryFolder folder;
  const auto& root = folder.path();
  const auto open = [&](Split split) { open_image_folder(root, split); };
  check_error([&] { open(Split::train); }, {root.string(), "sub-folder", "found none"});
  std::filesystem::create_directories(root / "train/empty");
  check_error([&] { open(Split::train); }, {"train/empty", "at least one .png"});
  write_bytes(root / "train/empty/broken.png", random_bytes(50, 1));
  const auto dataset = open_image_folder(root, Split::train);
  CHECK_THROWS_AS(dataset->get(0), FileError);
  check_error([&] { dataset->get(0); }, {"train/empty/broken.png: byte 0: "});
  check_error([&] { open(Split::test); }, {"test", "no such folder"});
  write_bytes(root / "val/other/1.png", encode_png(random_image(2, 2, 1, 1)));
  check_error([&] { open(Split::test); }, {"val/other", "a class that"});
  check_error([] { open_image_folder("/nonexistent", Split::train); }, {"/nonexistent", "no such folder"});
  std::filesystem::remove(root / "train/empty/broken.png");
  std::filesystem::create_directories(root / "train/empty/broken.png");
  check_error([&] { open_image_folder(root, Split::train)->get(0); }, {"broken.png", "a regular file"});
}

TEST_CASE("data/open_dataset/unknown_names") {
  const auto open = [](const char* name) { return [name] { open_dataset(name, Split::train); }; };
  CHECK_THROWS_AS(open("fashon-mnist")(), UsageError);
  check_error(open("fashon-mnist"), {"\"fashon-mnist\"", "Did you mean fashion-mnist?"});
  check_error(open("cifar-100"), {"Did you mean cifar100?"});
  check_error(open("CIFAR10"), {"Did you mean cifar10?"});
  const TemporaryFolder folder;
  const auto file = write_bytes(folder.path() / "file", {1});
  check_error([&] { open_dataset(file.string(), Split::train); }, {file.string(), "this is a file"});
}
