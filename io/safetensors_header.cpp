#include "io/safetensors_header.h"

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "io/shown.h"

namespace replk::safetensors {
namespace {

constexpr std::array<std::pair<const char*, DType>, 6> kDTypes{{{"F32", DType::f32},
                                                                {"F64", DType::f64},
                                                                {"BF16", DType::bf16},
                                                                {"F16", DType::f16},
                                                                {"U8", DType::u8},
                                                                {"I64", DType::i64}}};

// Accepts exactly {"__metadata__": {text: text}, name: {"dtype": text, "shape": [n...], "data_offsets": [b,
// e]}} from nlohmann's event parser. Nothing deeper or other is ever stored, so memory stays within a small
// multiple of the header. Its functions are called by the parser and bear the names it asks for.
class HeaderReader {
 public:
  using json = nlohmann::json;

  HeaderReader(const std::string& file, Header& header) : file_(file), header_(header) {}

  bool null() { return unexpected("null"); }
  bool boolean(bool) { return unexpected("a boolean"); }
  bool number_float(json::number_float_t, const std::string&) { return unexpected("a number"); }
  bool number_integer(json::number_integer_t) { return unexpected("a negative number"); }
  bool binary(json::binary_t&) { return unexpected("binary data"); }

  bool number_unsigned(json::number_unsigned_t value) {
    if (place_ != Place::shape && place_ != Place::offsets) return unexpected("a number");
    const bool in_shape = place_ == Place::shape;
    std::vector<std::int64_t>& numbers = in_shape ? *shape_ : *offsets_;
    require(value <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()), key_, ": ", value,
            " is too large.");
    require(numbers.size() < (in_shape ? std::size_t{Shape::kMaxRank} : 2), key_, ": at most ",
            in_shape ? Shape::kMaxRank : 2, " numbers expected.");
    numbers.push_back(static_cast<std::int64_t>(value));
    return true;
  }

  bool string(std::string& value) {
    if (place_ == Place::metadata) {
      require(header_.metadata.emplace(key_, std::move(value)).second, "key ", shown(key_),
              " appears twice.");
    } else if (place_ == Place::tensor && key_ == "dtype") {
      require(!dtype_, "dtype appears twice.");
      dtype_ = std::move(value);
    } else {
      return unexpected("text");
    }
    return true;
  }

  bool start_object(std::size_t) {
    if (place_ == Place::outside)
      place_ = Place::top;
    else if (place_ == Place::top)
      place_ = name_ == kMetadataKey ? Place::metadata : Place::tensor;
    else
      return unexpected("an object");
    return true;
  }

  bool key(std::string& value) {
    if (place_ == Place::top) {
      name_ = std::move(value);
      if (name_ == kMetadataKey) require(!std::exchange(has_metadata_, true), "it appears twice.");
      require(!header_.entries.contains(name_), "it appears twice.");
    } else {
      key_ = std::move(value);
      require(place_ == Place::metadata || key_ == "dtype" || key_ == "shape" || key_ == "data_offsets",
              "dtype, shape and data_offsets expected, got ", shown(key_), ".");
    }
    return true;
  }

  bool end_object() {
    if (place_ == Place::tensor) finish_tensor();
    place_ = place_ == Place::top ? Place::outside : Place::top;
    return true;
  }

  bool start_array(std::size_t) {
    if (place_ != Place::tensor || key_ == "dtype") return unexpected("an array");
    place_ = key_ == "shape" ? Place::shape : Place::offsets;
    auto& numbers = place_ == Place::shape ? shape_ : offsets_;
    require(!numbers, key_, " appears twice.");
    numbers.emplace();
    return true;
  }

  bool end_array() {
    place_ = Place::tensor;
    return true;
  }

  // The parser's own text may quote megabytes of the file; the position says enough.
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) {
    throw FileError(str(file_, ": byte ", kLengthBytes + position, ": the header is not valid JSON here."));
  }

 private:
  enum class Place { outside, top, metadata, tensor, shape, offsets };

  template <class... Args>
  void require(bool condition, const Args&... message) const {
    if (!condition) throw FileError(str(file_, ": header: ", shown(name_), ": ", message...));
  }

  bool unexpected(const char* what) const {
    switch (place_) {
      case Place::outside:
        throw FileError(str(file_, ": header: an object expected, got ", what, "."));
      case Place::top:
        require(false, "an object expected, got ", what, ".");
        break;
      case Place::metadata:
        require(false, "text expected for key ", shown(key_), ", got ", what, ".");
        break;
      case Place::tensor:
        require(false, key_, ": ", key_ == "dtype" ? "text" : "an array of numbers", " expected, got ", what,
                ".");
        break;
      default:
        require(false, key_, ": whole numbers from 0 expected, got ", what, ".");
    }
    return false;
  }

  void finish_tensor() {
    require(dtype_ && shape_ && offsets_, "dtype, shape and data_offsets expected, ",
            !dtype_   ? "dtype"
            : !shape_ ? "shape"
                      : "data_offsets",
            " is missing.");
    require(offsets_->size() == 2, "data_offsets: 2 numbers expected, got ", offsets_->size(), ".");
    const auto known =
        std::find_if(kDTypes.begin(), kDTypes.end(), [&](const auto& d) { return *dtype_ == d.first; });
    require(known != kDTypes.end(), "dtype F32, F64, BF16, F16, U8 or I64 expected, got ", shown(*dtype_),
            ".");
    Entry entry{known->second,
                {},
                static_cast<std::uint64_t>(offsets_->front()),
                static_cast<std::uint64_t>(offsets_->back())};
    try {
      entry.shape = Shape(std::span<const std::int64_t>(*shape_));
    } catch (const Error& error) {
      require(false, error.what());
    }
    header_.entries.emplace(name_, entry);
    dtype_.reset();
    shape_.reset();
    offsets_.reset();
  }

  const std::string& file_;
  Header& header_;
  Place place_ = Place::outside;
  std::string name_, key_;
  bool has_metadata_ = false;
  std::optional<std::string> dtype_;
  std::optional<std::vector<std::int64_t>> shape_, offsets_;
};

using Placed = std::pair<const std::string, Entry>;

// In the order of their places; empty tensors before the one that starts at the same byte.
std::vector<const Placed*> by_place(const Header& header) {
  std::vector<const Placed*> order;
  for (const Placed& placed : header.entries) order.push_back(&placed);
  std::stable_sort(order.begin(), order.end(), [](const Placed* a, const Placed* b) {
    return std::tie(a->second.begin, a->second.end) < std::tie(b->second.begin, b->second.end);
  });
  return order;
}

void check_places(const Header& header, std::uint64_t data_bytes, const std::string& file) {
  std::uint64_t covered = 0;
  for (const Placed* placed : by_place(header)) {
    const auto& [name, entry] = *placed;
    const auto require = [&, name = &name](bool condition, const auto&... message) {
      if (!condition) throw FileError(str(file, ": header: ", shown(*name), ": data_offsets: ", message...));
    };
    require(entry.begin <= entry.end && entry.end <= data_bytes, "begin <= end <= ", data_bytes,
            " (the bytes after the header) expected, got [", entry.begin, ", ", entry.end, "].");
    const auto numel = static_cast<std::uint64_t>(entry.shape.numel());
    require(numel <= data_bytes && numel * size_of(entry.dtype) == entry.end - entry.begin, entry.dtype, " ",
            entry.shape, " expected to match the size, got ", entry.end - entry.begin, " bytes.");
    require(entry.begin == covered, "the next tensor expected at byte ", covered, " of the data, got ",
            entry.begin,
            entry.begin < covered ? ": tensors overlap." : ": bytes in between belong to no tensor.");
    covered = entry.end;
  }
  if (covered != data_bytes)
    throw FileError(
        str(file, ": ", covered, " bytes of data expected after the header, got ", data_bytes, "."));
}

}  // namespace

Header parse_header(std::string_view json, std::uint64_t data_bytes, const std::string& file) {
  if (json.empty() || json.front() != '{')
    throw FileError(str(file, ": byte ", kLengthBytes, ": the header is expected to start with '{'."));
  Header header;
  HeaderReader reader(file, header);
  nlohmann::json::sax_parse(json.begin(), json.end(), &reader);
  check_places(header, data_bytes, file);
  return header;
}

std::string format_header(const Header& header) {
  const auto quoted = [](const std::string& text) {
    try {
      return nlohmann::json(text).dump();
    } catch (const nlohmann::json::exception&) {
      throw Error(str("write_safetensors: ", shown(text), " is not valid UTF-8."));
    }
  };
  std::string json = "{";
  const auto separate = [&json] {
    if (json.back() != '{') json += ',';
  };
  if (!header.metadata.empty()) {
    json += str('"', kMetadataKey, "\":{");
    for (const auto& [key, text] : header.metadata) {
      separate();
      json += quoted(key) + ":" + quoted(text);
    }
    json += '}';
  }
  for (const Placed* placed : by_place(header)) {
    const auto& [name, entry] = *placed;
    separate();
    const auto dtype = std::find_if(kDTypes.begin(), kDTypes.end(),
                                    [&, d = entry.dtype](const auto& k) { return k.second == d; });
    json += quoted(name) + ":{\"dtype\":\"" + dtype->first + "\",\"shape\":[";
    for (int axis = 0; axis < entry.shape.rank(); ++axis) {
      if (axis > 0) json += ',';
      json += std::to_string(entry.shape[axis]);
    }
    json += str("],\"data_offsets\":[", entry.begin, ",", entry.end, "]}");
  }
  return json + "}";
}

}  // namespace replk::safetensors
