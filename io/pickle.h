// Python's pickle format, read into inert values: nothing that a file names is ever called. Used within io.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <vector>

namespace replk::pickle {

/// What a pickle builds. References go to other values of the same Document and may form cycles.
struct Value {
  enum class Kind {
    none,
    boolean,     // number
    integer,     // number; one beyond 64 bits is an object "int"
    real,        // real
    text,        // text: str, or bytes
    list,        // items
    tuple,       // items
    dict,        // items: key, value, key, value, ...; OrderedDict and defaultdict too
    global,      // items: texts of module and name of a class or function, which is never looked up
    object,      // items: what would have been called, its arguments and, if set, its state; or text
    persistent,  // items: the persistent id (PyTorch: the tuple that names a storage)
  };
  Kind kind = Kind::none;
  std::int64_t number = 0;
  double real = 0;
  std::string text;
  std::vector<const Value*> items;
};

/// "module.name" of a global, and of what an object would have been made by; "" for other values.
std::string name_of(const Value& value);
/// "a list", "an object made by argparse.Namespace", ...: for messages.
std::string describe(const Value& value);

/// The value of `dict` under the text `key`, the last one where a key appears twice; null without.
const Value* find(const Value& dict, std::string_view key);

/// A pickle's values, and the one it stands for.
struct Document {
  std::deque<Value> values;
  const Value* root = nullptr;
};

/// Runs a pickle of protocol 0 to 5, of at most kMostValues values; beyond their own size (about 100 bytes)
/// memory stays within a small multiple of the bytes. `place` ("x.pth: data.pkl") begins every error, which
/// is a FileError naming the byte. Source of the format: the documentation of Python's pickletools.
Document parse(std::span<const std::byte> bytes, const std::string& place);

inline constexpr std::size_t kMostValues = std::size_t{1} << 20;

}  // namespace replk::pickle
