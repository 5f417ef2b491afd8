#include "io/pytorch_file.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <limits>
#include <optional>
#include <utility>

#include "core/error.h"
#include "io/pickle.h"
#include "io/shown.h"
#include "io/zip_archive.h"

namespace replk {
namespace {

using pickle::Value;
using Kind = Value::Kind;

constexpr std::uint64_t kMostPickleBytes = std::uint64_t{1} << 26;  // weights are not in it

constexpr std::array<std::pair<const char*, DType>, 7> kStorages{{{"torch.FloatStorage", DType::f32},
                                                                  {"torch.DoubleStorage", DType::f64},
                                                                  {"torch.BFloat16Storage", DType::bf16},
                                                                  {"torch.HalfStorage", DType::f16},
                                                                  {"torch.ByteStorage", DType::u8},
                                                                  {"torch.BoolStorage", DType::u8},
                                                                  {"torch.LongStorage", DType::i64}}};

// The state dict of one archive.
class Reader {
 public:
  Reader(ZipArchive& archive, const std::string& file)
      : archive_(archive), file_(file), budget_(archive.unpacked_limit()) {}

  PytorchFile read(const std::string& wanted) {
    find_prefix();
    check_byte_order();
    const pickle::Document document = read_pickle();
    const Value& state = find_state(*document.root, wanted);
    for (std::size_t i = 0; i + 1 < state.items.size(); i += 2) add(*state.items[i], *state.items[i + 1]);
    if (result_.tensors.empty()) refuse("data.pkl: a dict of tensors expected, it holds none.");
    return std::move(result_);
  }

 private:
  template <class... Args>
  [[noreturn]] void refuse(const Args&... message) const {
    throw FileError(str(file_, ": ", message...));
  }

  // Every entry is in one folder, named after the file when it was saved.
  void find_prefix() {
    constexpr std::string_view kPickle = "data.pkl";
    std::vector<std::string> found;
    for (const auto& [name, entry] : archive_.entries())
      if (name == kPickle || name.ends_with("/data.pkl"))
        found.push_back(name.substr(0, name.size() - kPickle.size()));
    if (found.size() != 1)
      refuse("one entry data.pkl expected in this zip archive, there are ", found.size(),
             ". Not a file of torch.save.");
    prefix_ = found.front();
    if (archive_.entries().contains(prefix_ + "constants.pkl"))
      refuse("a state dict expected, this is a TorchScript program. Save its weights in Python: ",
             "torch.save(torch.jit.load(FILE).state_dict(), OUT)");
  }

  void check_byte_order() {
    const auto found = archive_.entries().find(prefix_ + "byteorder");
    if (found == archive_.entries().end()) return;  // before PyTorch 2.1: always little endian in practice
    std::string order(std::min<std::uint64_t>(found->second.bytes, 16), ' ');
    if (found->second.bytes == order.size()) archive_.read(found->first, found->second, order.data());
    if (order != "little") refuse("byteorder: 'little' expected, got ", shown(order), ".");
  }

  pickle::Document read_pickle() {
    const std::string name = prefix_ + "data.pkl";
    const ZipArchive::Entry entry = archive_.entries().at(name);
    if (entry.bytes > kMostPickleBytes)
      refuse("data.pkl: at most ", kMostPickleBytes, " bytes expected, got ", entry.bytes, ".");
    std::vector<std::byte> bytes(entry.bytes);
    archive_.read(name, entry, bytes.data());
    return pickle::parse(bytes, file_ + ": data.pkl");
  }

  static bool is_tensor(const Value& value) {
    return value.kind == Kind::object && pickle::name_of(value).starts_with("torch._utils._rebuild_");
  }

  const Value& find_state(const Value& root, const std::string& wanted) {
    if (root.kind != Kind::dict)
      refuse("data.pkl: a dict expected, got ", pickle::describe(root),
             ". No code of a file is run: save weights in Python by torch.save(model.state_dict(), OUT)");
    std::vector<std::string> names = {"model", "state_dict", "model_state_dict", "model_ema"};
    if (!wanted.empty()) names = {wanted};
    for (const std::string& name : names) {
      const Value* value = pickle::find(root, name);
      if (!value || (value->kind != Kind::dict && wanted.empty())) continue;
      if (value->kind != Kind::dict)
        refuse(shown(wanted), ": a dict of tensors expected, got ", pickle::describe(*value), ".");
      result_.entry = name;
      note_skipped(root, name);
      return *value;
    }
    if (!wanted.empty())
      throw UsageError(str(file_, ": there is no entry ", shown(wanted), "; it has ", keys_of(root), "."));
    return root;
  }

  // "a", "b" and 3 more
  static std::string keys_of(const Value& dict, const std::string& except = "") {
    constexpr int kShown = 8;
    std::string text;
    int count = 0;
    for (std::size_t i = 0; i < dict.items.size(); i += 2) {
      const Value& key = *dict.items[i];
      if (key.text == except) continue;
      if (++count <= kShown)
        text += (count > 1 ? ", " : "") + (key.kind == Kind::text ? shown(key.text) : pickle::describe(key));
    }
    if (count > kShown) text += str(" and ", count - kShown, " more");
    return text;
  }

  void note_skipped(const Value& root, const std::string& used) {
    if (root.items.size() > 2)
      result_.notes.push_back(str("skipped beside ", shown(used), ": ", keys_of(root, used)));
  }

  void add(const Value& key, const Value& value) {
    if (key.kind != Kind::text)
      refuse("data.pkl: names of tensors expected, got ", pickle::describe(key), ".");
    if (is_tensor(value))
      result_.tensors.insert_or_assign(key.text, tensor_of(key.text, value));
    else if (value.kind == Kind::object || value.kind == Kind::global || value.kind == Kind::persistent)
      refuse("data.pkl: ", shown(key.text), ": a tensor expected, got ", pickle::describe(value),
             ". No code of a file is run: save weights in Python by torch.save(model.state_dict(), OUT)");
    else
      result_.notes.push_back(str("skipped ", shown(key.text), ": ", pickle::describe(value)));
  }

  std::int64_t count_of(const std::string& name, const Value& value, const char* what) const {
    if (value.kind != Kind::integer || value.number < 0)
      refuse(shown(name), ": ", what, " from 0 expected, got ",
             value.kind == Kind::integer ? str(value.number) : pickle::describe(value), ".");
    return value.number;
  }
  std::vector<std::int64_t> counts_of(const std::string& name, const Value& value, const char* what) const {
    if ((value.kind != Kind::tuple && value.kind != Kind::list) ||
        std::cmp_greater(value.items.size(), Shape::kMaxRank))
      refuse(shown(name), ": ", what, ": a tuple of at most ", Shape::kMaxRank, " numbers expected, got ",
             pickle::describe(value), " of ", value.items.size(), ".");
    std::vector<std::int64_t> counts;
    for (const Value* item : value.items) counts.push_back(count_of(name, *item, what));
    return counts;
  }

  // Calls of _rebuild_tensor(_v2)(storage, offset, size, stride, ...) and _rebuild_parameter(tensor, ...).
  Tensor tensor_of(const std::string& name, const Value& object) {
    const Value* call = &object;
    const auto arguments = [&](std::size_t least) -> const std::vector<const Value*>& {
      const Value& tuple = *call->items.at(1);
      if (tuple.kind != Kind::tuple || tuple.items.size() < least)
        refuse(shown(name), ": ", least, " arguments of ", pickle::name_of(*call), " expected, got ",
               pickle::describe(tuple), " of ", tuple.items.size(), ".");
      return tuple.items;
    };
    if (pickle::name_of(*call).starts_with("torch._utils._rebuild_parameter")) call = arguments(1)[0];
    const std::string maker = pickle::name_of(*call);
    if (call->kind != Kind::object || call->items.size() < 2 ||
        (maker != "torch._utils._rebuild_tensor_v2" && maker != "torch._utils._rebuild_tensor"))
      refuse(shown(name), ": a dense tensor expected (torch._utils._rebuild_tensor_v2), got ",
             pickle::describe(*call), ".");
    const auto& given = arguments(4);
    const std::int64_t offset = count_of(name, *given[1], "offset");
    const std::vector<std::int64_t> extents = counts_of(name, *given[2], "size");
    const std::vector<std::int64_t> strides = counts_of(name, *given[3], "stride");
    if (extents.size() != strides.size())
      refuse(shown(name), ": as many strides as sizes expected, got ", strides.size(), " and ",
             extents.size(), ".");
    Shape shape;
    try {
      shape = Shape(std::span<const std::int64_t>(extents));
    } catch (const Error& error) {
      refuse(shown(name), ": ", error.what());
    }
    return view_of(name, storage_of(name, *given[0]), offset, shape, strides);
  }

  Tensor storage_of(const std::string& name, const Value& value) {
    const Value* id = value.kind == Kind::persistent ? value.items[0] : nullptr;
    if (!id || id->kind != Kind::tuple || id->items.size() < 5 || id->items[2]->kind != Kind::text)
      refuse(shown(name), ": a storage expected, got ", pickle::describe(value), ".");
    const std::string type = pickle::name_of(*id->items[1]);
    const auto known =
        std::find_if(kStorages.begin(), kStorages.end(), [&](const auto& s) { return type == s.first; });
    if (known == kStorages.end())
      refuse(shown(name), ": a tensor of dtype f32, f64, f16, bf16, i64, u8 or bool expected, got ",
             shown(type), ". Cast it in Python before saving.");
    const std::int64_t numel = count_of(name, *id->items[4], "number of elements");
    const auto [cached, fresh] = storages_.try_emplace({id->items[2]->text, known->second});
    if (fresh) cached->second = load_storage(name, id->items[2]->text, known->second, numel);
    if (cached->second.numel() != numel)
      refuse(shown(name), ": its storage has ", cached->second.numel(), " elements elsewhere, here ", numel,
             ".");
    return cached->second;
  }

  Tensor load_storage(const std::string& name, const std::string& key, DType dtype, std::int64_t numel) {
    const std::string path = prefix_ + "data/" + key;
    const auto found = archive_.entries().find(path);
    if (found == archive_.entries().end())
      refuse(shown(name), ": entry ", shown(path), " expected in the archive, it is missing.");
    const std::uint64_t bytes = found->second.bytes;
    if (bytes / size_of(dtype) != static_cast<std::uint64_t>(numel) || bytes % size_of(dtype) != 0)
      refuse("entry ", shown(path), ": ", numel, " elements of ", dtype, " expected, got ", bytes, " bytes.");
    spend(name, bytes);
    Tensor storage = Tensor::empty({numel}, dtype);
    archive_.read(path, found->second, storage.raw());
    return storage;
  }

  void spend(const std::string& name, std::uint64_t bytes) {
    if (bytes > budget_)
      refuse(shown(name), ": at most ", archive_.unpacked_limit(), " bytes of tensors expected in a file of ",
             "this size, this one goes beyond.");
    budget_ -= bytes;
  }

  Tensor view_of(const std::string& name, const Tensor& storage, std::int64_t offset, const Shape& shape,
                 const std::vector<std::int64_t>& strides) {
    if (shape.numel() == 0) return Tensor::empty(shape, storage.dtype());
    // The last element's place; a sum that would overflow is beyond the storage anyway.
    std::int64_t last = offset, dense = 1;
    bool contiguous = true, inside = offset < storage.numel();
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
      const std::int64_t stride = strides[static_cast<std::size_t>(axis)], steps = shape[axis] - 1;
      contiguous = contiguous && (steps == 0 || stride == dense);
      dense *= shape[axis];
      std::int64_t reach = 0;
      inside = inside && !__builtin_mul_overflow(steps, stride, &reach) &&
               !__builtin_add_overflow(last, reach, &last) && last < storage.numel();
    }
    if (!inside)
      refuse(shown(name), ": offset ", offset, " and ", shape,
             " with its strides lie outside its storage of ", storage.numel(), " elements.");
    if (contiguous) return storage.slice(offset, offset + shape.numel()).view(shape);
    spend(name, static_cast<std::uint64_t>(shape.numel()) * size_of(storage.dtype()));
    return gather(storage, offset, shape, strides);
  }

  static Tensor gather(const Tensor& storage, std::int64_t offset, const Shape& shape,
                       const std::vector<std::int64_t>& strides) {
    Tensor result = Tensor::empty(shape, storage.dtype());
    const std::size_t size = size_of(storage.dtype());
    const auto* from = static_cast<const std::byte*>(storage.raw());
    auto* to = static_cast<std::byte*>(result.raw());
    std::vector<std::int64_t> index(strides.size(), 0);
    for (std::int64_t n = 0, at = offset; n < shape.numel(); ++n) {
      std::memcpy(to + static_cast<std::size_t>(n) * size, from + static_cast<std::size_t>(at) * size, size);
      for (int axis = shape.rank() - 1; axis >= 0; --axis) {
        const auto a = static_cast<std::size_t>(axis);
        at += strides[a];
        if (++index[a] < shape[axis]) break;
        at -= strides[a] * shape[axis];
        index[a] = 0;
      }
    }
    return result;
  }

  ZipArchive& archive_;
  const std::string& file_;
  std::uint64_t budget_;  // bytes that tensors may still take
  std::string prefix_;
  std::map<std::pair<std::string, DType>, Tensor> storages_;
  PytorchFile result_;
};

enum class Format { zip, legacy, tar, unknown };

// The older format begins with a pickled magic number; the oldest was a tar archive.
Format format_of(std::span<const char> first) {
  constexpr std::string_view kZip = "PK\x03\x04", kTar = "ustar";
  constexpr char kLegacy[] = {'\x8a', '\x0a', '\x6c', '\xfc', '\x9c', '\x46'};
  constexpr std::size_t kTarPlace = 257;
  const std::string_view text(first.data(), first.size());
  if (text.starts_with(kZip)) return Format::zip;
  if (text.size() > 2 && text.substr(2).starts_with(std::string_view(kLegacy, sizeof kLegacy)))
    return Format::legacy;
  if (text.size() > kTarPlace && text.substr(kTarPlace).starts_with(kTar)) return Format::tar;
  return Format::unknown;
}

void check_format(Format format, const std::string& file) {
  if (format == Format::legacy || format == Format::tar)
    throw FileError(str(file, ": byte 0: a zip archive expected, this is the format of PyTorch before 1.6. ",
                        "Save it again in Python: torch.save(torch.load(FILE, map_location=\"cpu\"), OUT)"));
  if (format == Format::unknown)
    throw FileError(str(file,
                        ": byte 0: a zip archive expected (PK), as torch.save writes it. Not a PyTorch ",
                        "checkpoint, or cut off."));
}

constexpr std::size_t kFirstBytes = 512;

Format format_of(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  std::array<char, kFirstBytes> first{};
  stream.read(first.data(), first.size());
  return format_of(std::span(first.data(), static_cast<std::size_t>(stream.gcount())));
}

}  // namespace

PytorchFile read_pytorch(const std::filesystem::path& path, const std::string& entry) {
  const std::string file = path.string();
  std::error_code error;
  if (!std::filesystem::exists(path, error)) throw FileError(str(file, ": no such file."));
  if (!std::filesystem::is_regular_file(path, error)) throw FileError(str(file, ": not a regular file."));
  check_format(format_of(path), file);
  ZipArchive archive(path);
  return Reader(archive, file).read(entry);
}

PytorchFile parse_pytorch(std::span<const std::byte> bytes, const std::string& name,
                          const std::string& entry) {
  const auto first = bytes.first(std::min(bytes.size(), kFirstBytes));
  check_format(format_of(std::span(reinterpret_cast<const char*>(first.data()), first.size())), name);
  ZipArchive archive(bytes, name);
  return Reader(archive, name).read(entry);
}

bool looks_like_pytorch(const std::filesystem::path& path) { return format_of(path) != Format::unknown; }

}  // namespace replk
