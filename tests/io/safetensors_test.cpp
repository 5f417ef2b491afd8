#include "io/safetensors.h"

#include <unistd.h>

#include <cstring>
#include <fstream>
#include <limits>

#include "core/random.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;
namespace fs = std::filesystem;

namespace {

using Bytes = std::vector<std::byte>;

/// A file from its header's text and the number of bytes of data after it.
Bytes file_of(const std::string& header, std::size_t data_bytes) {
  Bytes bytes(8 + header.size() + data_bytes, std::byte{1});
  const std::uint64_t length = header.size();
  std::memcpy(bytes.data(), &length, 8);
  std::memcpy(bytes.data() + 8, header.data(), header.size());
  return bytes;
}

Bytes read_all(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(stream)), {});
  const auto* first = reinterpret_cast<const std::byte*>(text.data());
  return {first, first + text.size()};
}

/// A folder that is removed with all that is in it.
struct Folder {
  fs::path path = fs::temp_directory_path() / str("replk_io_test_", std::rand(), "_", ::getpid());
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
};

/// Random bits, so that NaNs, infinities and denormals travel too.
Tensor random_bits(const Shape& shape, DType dtype, std::uint64_t seed) {
  Tensor tensor = Tensor::empty(shape, dtype);
  Random random(seed);
  auto* bytes = static_cast<unsigned char*>(tensor.raw());
  for (std::size_t i = 0; i < tensor.bytes(); ++i) bytes[i] = static_cast<unsigned char>(random.next());
  return tensor;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

/// Expects a FileError that names the file and every one of `parts`.
void check_refused(const Bytes& bytes, std::vector<std::string> parts) {
  parts.push_back("hostile.safetensors: ");
  check_error(
      [&] {
        try {
          parse_safetensors(bytes, "hostile.safetensors");
        } catch (const FileError&) {
          throw;
        } catch (const std::exception& other) {
          FAIL("expected a FileError, got: " << other.what());
        }
      },
      parts);
}

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return "{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
}

}  // namespace

TEST_CASE("io/safetensors/round_trip") {
  const Folder folder;
  std::map<std::string, Tensor> tensors;
  const std::vector<Shape> shapes = {{}, {7}, {3, 5}, {2, 1, 3}, {2, 3, 1, 5}, {1, 2, 3, 2, 1}, {3, 0, 2}};
  std::uint64_t seed = 0;
  for (const DType dtype : {DType::u8, DType::f32, DType::f64, DType::bf16, DType::f16, DType::i64})
    for (const Shape& shape : shapes)
      tensors.emplace(str(dtype, ".", shape), random_bits(shape, dtype, ++seed));
  const std::map<std::string, std::string> metadata = {{"config", "{\"a\": \"b\\n\"}"}, {"ümlaut", ""}};
  const fs::path path = folder.path / "a.safetensors";
  write_safetensors(path, tensors, metadata);
  const Safetensors back = read_safetensors(path);
  CHECK(back.metadata == metadata);
  REQUIRE(back.tensors.size() == tensors.size());
  for (const auto& [name, tensor] : tensors) {
    INFO(name);
    CHECK(same_bits(back.tensors.at(name), tensor));
  }
  const Bytes bytes = read_all(path);
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), 8);
  CHECK(header_bytes % 8 == 0);
  const Safetensors parsed = parse_safetensors(bytes, "memory");
  for (const auto& [name, tensor] : tensors) CHECK(same_bits(parsed.tensors.at(name), tensor));
  write_safetensors(folder.path / "b.safetensors", back.tensors, back.metadata);
  CHECK(read_all(folder.path / "b.safetensors") == bytes);
}

TEST_CASE("io/safetensors/nothing_inside") {
  const Folder folder;
  write_safetensors(folder.path / "empty.safetensors", {});
  const Safetensors back = read_safetensors(folder.path / "empty.safetensors");
  CHECK(back.tensors.empty());
  CHECK(back.metadata.empty());
}

TEST_CASE("io/safetensors/pytorch_file") {
  const Safetensors file = read_safetensors("tests/fixtures/replknet_micro.safetensors");
  CHECK(file.tensors.size() > 100);
  CHECK(!file.metadata.empty());
}

TEST_CASE("io/safetensors/names_of_dtypes") {
  // By hand, because a round trip cannot tell two names that are swapped both ways.
  const std::vector<std::pair<std::string, DType>> names = {{"F32", DType::f32},   {"F64", DType::f64},
                                                            {"BF16", DType::bf16}, {"F16", DType::f16},
                                                            {"U8", DType::u8},     {"I64", DType::i64}};
  const Folder folder;
  for (const auto& [name, dtype] : names) {
    const auto size = size_of(dtype);
    const Bytes bytes =
        file_of("{\"w\":" + entry(name, "[1]", "[0," + std::to_string(size) + "]") + "}", size);
    CHECK(parse_safetensors(bytes, "by hand").tensors.at("w").dtype() == dtype);
    write_safetensors(folder.path / "w.safetensors", {{"w", Tensor::zeros({1}, dtype)}});
    const Bytes written = read_all(folder.path / "w.safetensors");
    const std::string text(reinterpret_cast<const char*>(written.data()), written.size());
    CHECK(text.find("\"" + name + "\"") != std::string::npos);
  }
}

TEST_CASE("io/safetensors/cut_off_anywhere") {
  const Folder folder;
  const fs::path path = folder.path / "whole.safetensors", cut = folder.path / "cut.safetensors";
  write_safetensors(path, {{"w", random_bits({2, 3}, DType::f32, 1)}, {"n", random_bits({}, DType::i64, 2)}},
                    {{"k", "v"}});
  const Bytes bytes = read_all(path);
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    INFO("cut after " << length << " bytes");
    std::ofstream(cut, std::ios::binary).write(reinterpret_cast<const char*>(bytes.data()), length);
    CHECK_THROWS_AS(read_safetensors(cut), FileError);
    CHECK_THROWS_AS(parse_safetensors(std::span(bytes).first(length), "cut"), FileError);
  }
  Bytes longer = bytes;
  longer.push_back(std::byte{0});
  CHECK_THROWS_AS(parse_safetensors(longer, "longer"), FileError);
}

TEST_CASE("io/safetensors/flipped_bits") {
  const Folder folder;
  const fs::path path = folder.path / "whole.safetensors";
  write_safetensors(path,
                    {{"w", random_bits({2, 3}, DType::f32, 1)}, {"n.x", random_bits({2}, DType::u8, 2)}},
                    {{"k", "v"}});
  const Bytes bytes = read_all(path);
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), 8);
  int refused = 0, read = 0;
  for (std::size_t i = 0; i < 8 + header_bytes; ++i)
    for (int bit = 0; bit < 8; ++bit) {
      Bytes flipped = bytes;
      flipped[i] ^= std::byte(1 << bit);
      try {
        parse_safetensors(flipped, "flipped");
        ++read;  // a letter of a name or of the metadata
      } catch (const FileError&) {
        ++refused;
      }
    }
  CHECK(refused > 4 * read);
}

TEST_CASE("io/safetensors/lying_headers") {
  const auto refused = [](const std::string& header, std::size_t data,
                          const std::vector<std::string>& parts) {
    INFO(header);
    check_refused(file_of(header, data), parts);
  };
  const std::string w = entry("F32", "[2]", "[0,8]");
  refused("{\"w\":" + entry("F32", "[2]", "[0,4]") + "}", 4, {"\"w\"", "f32 (2)", "4 bytes"});
  refused("{\"w\":" + entry("F32", "[2]", "[0,8]") + "}", 4, {"\"w\"", "<= 4", "[0, 8]"});
  refused("{\"w\":" + entry("F32", "[2]", "[8,0]") + "}", 8, {"\"w\"", "begin <= end", "[8, 0]"});
  refused("{\"w\":" + w + ",\"v\":" + w + "}", 8, {"overlap"});
  refused("{\"w\":" + w + ",\"v\":" + entry("F32", "[2]", "[4,12]") + "}", 12, {"\"v\"", "overlap"});
  refused("{\"w\":" + w + ",\"v\":" + entry("F32", "[1]", "[12,16]") + "}", 16, {"\"v\"", "no tensor"});
  refused("{\"w\":" + entry("F32", "[1]", "[4,8]") + "}", 8, {"\"w\"", "byte 0", "no tensor"});
  refused("{\"w\":" + w + "}", 12, {"8 bytes of data", "12"});
  refused("{}", 1, {"0 bytes of data", "1"});
  refused("{\"w\":" + w + ",\"w\":" + w + "}", 8, {"\"w\"", "twice"});
  refused("{\"__metadata__\":{},\"__metadata__\":{}}", 0, {"__metadata__", "twice"});
  refused("{\"__metadata__\":{\"a\":\"\",\"a\":\"\"}}", 0, {"\"a\"", "twice"});
  refused("{\"__metadata__\":{\"a\":1}}", 0, {"__metadata__", "\"a\"", "text expected"});
  refused("{\"__metadata__\":[]}", 0, {"__metadata__", "object expected"});
  for (const std::string dtype : {"F8_E4M3", "I32", "BOOL", "f32", ""})
    refused("{\"w\":" + entry(dtype, "[2]", "[0,8]") + "}", 8, {"\"w\"", "dtype F32", "\"" + dtype + "\""});
  refused("{\"w\":" + entry("U8", "[1,1,1,1,1,1]", "[0,1]") + "}", 1, {"\"w\"", "shape", "at most 5"});
  refused("{\"w\":" + entry("U8", "[1]", "[0,1,1]") + "}", 1, {"\"w\"", "data_offsets", "at most 2"});
  refused("{\"w\":" + entry("U8", "[1]", "[0]") + "}", 1, {"\"w\"", "data_offsets", "2 numbers"});
  refused("{\"w\":" + entry("U8", "[-1]", "[0,1]") + "}", 1, {"\"w\"", "shape", "negative"});
  refused("{\"w\":" + entry("U8", "[1.0]", "[0,1]") + "}", 1, {"\"w\"", "shape", "whole numbers"});
  refused("{\"w\":" + entry("U8", "[18446744073709551615]", "[0,1]") + "}", 1, {"\"w\"", "too large"});
  refused("{\"w\":" + entry("U8", "[4294967296,4294967296,4294967296]", "[0,1]") + "}", 1, {"\"w\"", "2^62"});
  refused("{\"w\":" + entry("F64", "[2305843009213693952]", "[0,0]") + "}", 0, {"\"w\"", "0 bytes"});
  refused("{\"w\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, {"\"w\"", "data_offsets is missing"});
  refused("{\"w\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
          {"\"w\"", "dtype appears twice"});
  refused("{\"w\":{\"dtype\":\"U8\",\"shape\":[1],\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
          {"\"w\"", "shape appears twice"});
  refused("{\"w\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"more\":1}}", 1,
          {"\"w\"", "\"more\""});
  refused("{\"w\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, {"\"w\"", "dtype", "text"});
  refused("{\"w\":{\"dtype\":\"U8\",\"shape\":{},\"data_offsets\":[0,1]}}", 1, {"\"w\"", "shape", "array"});
  refused("{\"w\":[]}", 0, {"\"w\"", "object expected"});
}

TEST_CASE("io/safetensors/broken_json") {
  const auto refused = [](const std::string& header, const std::vector<std::string>& parts) {
    check_refused(file_of(header, 0), parts);
  };
  refused("", {"byte 8", "'{'"});
  refused(" {}", {"byte 8", "'{'"});
  refused("[]", {"byte 8", "'{'"});
  refused("{", {"byte", "JSON"});
  refused("{} x", {"byte", "JSON"});
  refused("{\"w\":nul}", {"byte", "JSON"});
  refused("{\"\xff\":{}}", {"byte", "JSON"});
  refused("{\"w\":{\"a\x01\":0}}", {"byte", "JSON"});
  std::string deep = "{\"w\":";
  deep.append(1'000'000, '[');
  refused(deep, {"\"w\"", "object expected"});
  std::string deeper = "{";
  for (int i = 0; i < 100'000; ++i) deeper += "\"w\":{";
  refused(deeper, {"\"w\""});
  // A name of a megabyte must not come back as a message of a megabyte.
  try {
    parse_safetensors(file_of("{\"" + std::string(1'000'000, 'x') + "\":0}", 0), "long");
    FAIL("must be refused");
  } catch (const FileError& error) {
    CHECK(std::strlen(error.what()) < 300);
  }
}

TEST_CASE("io/safetensors/header_length") {
  Bytes bytes = file_of("{}", 0);
  const auto with_length = [&](std::uint64_t length) {
    std::memcpy(bytes.data(), &length, 8);
    return bytes;
  };
  check_refused(with_length(3), {"byte 0", "at most 2", "3"});
  check_refused(with_length(std::numeric_limits<std::uint64_t>::max()), {"byte 0", "18446744073709551615"});
  check_refused(with_length(std::numeric_limits<std::uint64_t>::max() - 7), {"byte 0"});
  check_refused({}, {"byte 0", "8 bytes"});
  const Folder folder;  // past the format's limit, though the file is long enough
  const fs::path path = folder.path / "long.safetensors";
  {
    std::ofstream stream(path, std::ios::binary);
    const std::uint64_t length = 100'000'001;
    stream.write(reinterpret_cast<const char*>(&length), 8);
  }
  fs::resize_file(path, 200'000'000);  // sparse
  check_error([&] { read_safetensors(path); }, {"long.safetensors", "100000000", "limit", "100000001"});
}

TEST_CASE("io/safetensors/memory_follows_the_file") {
  Allocator& allocator = allocator_for(Device::cpu());
  allocator.reset_peak();
  const std::int64_t before = allocator.stats().peak;
  check_refused(file_of("{\"w\":" + entry("U8", "[1000000000]", "[0,1000000000]") + "}", 8), {"\"w\""});
  CHECK(allocator.stats().peak == before);
}

TEST_CASE("io/safetensors/unaligned_data") {
  // Older writers do not pad the header: the data may start anywhere.
  for (int pad = 0; pad < 8; ++pad) {
    Bytes bytes = file_of("{\"w\":" + entry("F64", "[2]", "[1,17]") +
                              ",\"b\":" + entry("U8", "[1]", "[0,1]") + "}" + std::string(pad, ' '),
                          17);
    const std::vector<double> values = {1.5, -2.25};
    std::memcpy(bytes.data() + bytes.size() - 16, values.data(), 16);
    CHECK(parse_safetensors(bytes, "unaligned").tensors.at("w").to_vector() == values);
  }
}

TEST_CASE("io/safetensors/errors") {
  const Folder folder;
  check_error([&] { read_safetensors(folder.path / "none.safetensors"); },
              {"none.safetensors", "no such file"});
  check_error([&] { read_safetensors(folder.path); }, {folder.path.string(), "regular file"});
  const fs::path path = folder.path / "a.safetensors";
  check_error([&] { write_safetensors(path, {{"w", Tensor()}}); }, {"\"w\"", "empty"});
  check_error([&] { write_safetensors(path, {{"__metadata__", Tensor::zeros({1})}}); }, {"__metadata__"});
  check_error([&] { write_safetensors(path, {{"\xff", Tensor::zeros({1})}}); }, {"UTF-8"});
  CHECK(!fs::exists(path));
}

// Written by the Python package: tests/fixtures/make_pytorch.py.
TEST_CASE("io/safetensors/a_file_of_the_python_package") {
  const Safetensors file = read_safetensors("tests/fixtures/pytorch/python.safetensors");
  CHECK(file.metadata == std::map<std::string, std::string>{{"format", "pt"}, {"by", "Python"}});
  CHECK(file.tensors.size() == 14);
  const auto is = [&](const char* key, const Shape& shape, DType dtype, const Values& expected) {
    INFO(key);
    const Tensor& tensor = file.tensors.at(key);
    CHECK(tensor.shape() == shape);
    CHECK(tensor.dtype() == dtype);
    CHECK(tensor.to_vector() == expected);
  };
  is("f32", {2, 3}, DType::f32, {0, 1, 2, 3, 4, 5});
  is("f64", {3}, DType::f64, {-1, 0, 1});
  is("f16", {4}, DType::f16, {0, 1, 2, 3});
  is("bf16", {2, 2}, DType::bf16, {0, 1, 2, 3});
  is("i64", {2}, DType::i64, {-1099511627776.0, 7});
  is("u8", {5}, DType::u8, {250, 251, 252, 253, 254});
  is("scalar", {}, DType::f32, {3.5});
  is("empty", {0, 4}, DType::f32, {});
  is("corner", {2, 3}, DType::f32, {7, 9, 11, 19, 21, 23});
}
