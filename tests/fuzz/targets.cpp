#include "tests/fuzz/targets.h"

#include <map>
#include <string>

#include "core/error.h"
#include "io/pickle.h"
#include "io/pytorch_file.h"
#include "io/safetensors.h"
#include "tests/io/zip_bytes.h"

namespace replk::test {
namespace {

void touch(const std::map<std::string, Tensor>& tensors) {
  volatile unsigned char sum = 0;
  for (const auto& [name, tensor] : tensors) {
    const auto* bytes = static_cast<const unsigned char*>(tensor.raw());
    for (std::size_t i = 0; i < tensor.bytes(); ++i) sum = static_cast<unsigned char>(sum + bytes[i]);
  }
}

}  // namespace

void fuzz_safetensors(std::span<const std::byte> bytes) {
  try {
    touch(parse_safetensors(bytes, "fuzzed").tensors);
  } catch (const FileError&) {
  }
}

void fuzz_pytorch(std::span<const std::byte> bytes) {
  try {
    touch(parse_pytorch(bytes, "fuzzed").tensors);
  } catch (const FileError&) {
  }
}

void fuzz_pickle(std::span<const std::byte> bytes) {
  try {
    const pickle::Document document = pickle::parse(bytes, "fuzzed");
    for (const pickle::Value& value : document.values) {
      pickle::find(value, "model");
      if (value.items.size() <= 16) pickle::describe(value);
    }
  } catch (const FileError&) {
  }
}

void fuzz_pytorch_pickle(std::span<const std::byte> bytes) {
  const std::string pickle(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const std::string storage(64, '\x01');
  const std::string file =
      zip_archive({{"x/data.pkl", pickle}, {"x/data/0", storage}, {"x/data/1", storage}});
  fuzz_pytorch(std::as_bytes(std::span(file)));
}

}  // namespace replk::test
