// PyTorch checkpoints: what torch.save wrote (tests/fixtures/make_pytorch.py), and hostile archives.
#include "io/pytorch_file.h"

#include <cstring>

#include "core/random.h"
#include "io/safetensors.h"
#include "tests/io/hostile.h"

using namespace replk;
using namespace replk::test;
namespace fs = std::filesystem;

namespace {

const fs::path kFiles = "tests/fixtures/pytorch";

PytorchFile parse(const Bytes& bytes, const std::string& entry = "") {
  return parse_pytorch(bytes, "x.pth", entry);
}

// A pickle of {"w": tensor} whose tensor is what the texts say, in Python's protocol 2.
struct Pickled {
  std::string type = "FloatStorage", key = "0", maker = "torch._utils\n_rebuild_tensor_v2\n";
  std::string numel = "K\x06", offset = "K\x00", size = "K\x02K\x03\x86", stride = "K\x03K\x01\x86";

  std::string text() const {
    const std::string zero = offset.size() == 1 ? std::string("K\0", 2) : offset;
    return "\x80\x02}Vw\nc" + maker + "((Vstorage\nctorch\n" + type + "\nV" + key + "\nVcpu\n" + numel +
           "tQ" + zero + size + stride + "\x89)tRs.";
  }
};

std::string six_floats() {
  std::string data;
  for (int i = 0; i < 6; ++i) data += raw(static_cast<float>(i));
  return data;
}

Bytes archive(const std::string& pickle, const std::vector<ZipEntry>& more = {{"x/data/0", six_floats()}}) {
  std::vector<ZipEntry> entries = {{"x/data.pkl", pickle}};
  entries.insert(entries.end(), more.begin(), more.end());
  return bytes_of(zip_archive(entries));
}

void refused(const Bytes& bytes, std::vector<std::string> parts) {
  parts.push_back("x.pth: ");
  check_refused([&] { parse(bytes); }, parts);
}

Values values_of(const PytorchFile& file, const std::string& name) {
  return file.tensors.at(name).to_vector();
}

bool has_note(const PytorchFile& file, const std::string& part) {
  for (const std::string& note : file.notes)
    if (note.find(part) != std::string::npos) return true;
  return false;
}

}  // namespace

TEST_CASE("io/pytorch/every_kind_of_tensor") {
  for (const char* name : {"tensors.pth", "deflated.pth"}) {
    INFO(name);
    const PytorchFile file = read_pytorch(kFiles / name);
    CHECK(file.entry.empty());
    CHECK(file.notes.empty());
    CHECK(file.tensors.size() == 15);
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
    is("bool", {3}, DType::u8, {1, 0, 1});
    is("scalar", {}, DType::f32, {3.5});
    is("empty", {0, 4}, DType::f32, {});
    is("rows", {2, 6}, DType::f32, {6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17});
    is("transposed", {6, 4}, DType::f32,
       {0, 6, 12, 18, 1, 7, 13, 19, 2, 8, 14, 20, 3, 9, 15, 21, 4, 10, 16, 22, 5, 11, 17, 23});
    is("corner", {2, 3}, DType::f32, {7, 9, 11, 19, 21, 23});
    is("expanded", {2, 3}, DType::f32, {5, 5, 5, 5, 5, 5});
    is("parameter", {2}, DType::f32, {0, 1});
    CHECK(file.tensors.at("rows").shares_storage(file.tensors.at("whole")));
    CHECK_FALSE(file.tensors.at("f32").shares_storage(file.tensors.at("whole")));
  }
}

TEST_CASE("io/pytorch/a_training_checkpoint") {
  const PytorchFile file = read_pytorch(kFiles / "training.pth");
  CHECK(file.entry == "model");
  CHECK(file.tensors.size() == 2);
  CHECK(values_of(file, "module.weight") == Values{0, 1, 2, 3, 4, 5});
  CHECK(has_note(file, "optimizer"));
  CHECK(has_note(file, "model_ema"));
  CHECK(has_note(file, "args"));
  const PytorchFile ema = read_pytorch(kFiles / "training.pth", "model_ema");
  CHECK(ema.entry == "model_ema");
  CHECK(values_of(ema, "weight") == Values{10, 11, 12, 13, 14, 15});
  CHECK_THROWS_AS(read_pytorch(kFiles / "training.pth", "ema"), UsageError);
  check_error([] { read_pytorch(kFiles / "training.pth", "ema"); }, {"\"ema\"", "\"model_ema\""});
  check_refused([] { read_pytorch(kFiles / "training.pth", "args"); },
                {"argparse.Namespace", "dict of tensors"});
}

TEST_CASE("io/pytorch/other_files_of_pytorch_say_what_to_do") {
  const auto is_refused = [](const char* name, std::vector<std::string> parts) {
    INFO(name);
    parts.push_back(str(name, ": "));
    check_refused([&] { read_pytorch(kFiles / name); }, parts);
  };
  is_refused("custom.pth", {"\"thing\"", "__main__.Custom", "No code"});
  is_refused("module.pth", {"torch.nn.modules.linear.Linear", "state_dict()"});
  is_refused("legacy.pth", {"before 1.6", "torch.save(torch.load("});
  is_refused("script.pt", {"TorchScript", "state_dict()"});
  is_refused("int32.pth", {"\"weight\"", "torch.IntStorage", "Cast"});
  is_refused("python.safetensors", {"zip archive", "byte 0"});
  is_refused("nowhere.pth", {"no such file"});
  CHECK(values_of(read_pytorch(kFiles / "protocol4.pth"), "weight") == Values{0, 1, 2, 3});
}

TEST_CASE("io/pytorch/the_published_layout_equals_its_safetensors_twin") {
  for (const std::string name : {"replknet_micro", "replknet_micro_xl"}) {
    const PytorchFile file = read_pytorch("tests/fixtures/" + name + ".pth");
    CHECK(file.entry == "model");
    std::size_t compared = 0;
    for (const auto& [key, tensor] : read_safetensors("tests/fixtures/" + name + ".safetensors").tensors) {
      if (!key.starts_with("model.")) continue;
      INFO(key);
      const Tensor& twin = file.tensors.at(key.substr(6));
      CHECK(twin.shape() == tensor.shape());
      CHECK(twin.to_vector() == tensor.to_vector());
      ++compared;
    }
    CHECK(compared == file.tensors.size());
  }
}

TEST_CASE("io/pytorch/strides_and_offsets_stay_inside") {
  const Bytes good = archive(Pickled().text());
  CHECK(values_of(parse(good), "w") == Values{0, 1, 2, 3, 4, 5});
  const auto with = [](auto change) {
    Pickled pickled;
    change(pickled);
    return archive(pickled.text());
  };
  using P = Pickled;
  CHECK(values_of(parse(with([](P& p) { p.stride = "K\x01K\x02\x86"; })), "w") == Values{0, 2, 4, 1, 3, 5});
  const std::string huge = "\x8a\x08" + raw(std::numeric_limits<std::int64_t>::max());
  const std::string negative = "J" + raw<std::int32_t>(-1);
  refused(with([](P& p) { p.offset = "K\x01"; }), {"\"w\"", "outside", "6 elements"});
  refused(with([](P& p) { p.stride = "K\x04K\x01\x86"; }), {"outside"});
  refused(with([&](P& p) { p.offset = huge; }), {"outside"});
  refused(with([&](P& p) { p.stride = huge + huge + "\x86"; }), {"outside"});
  refused(with([&](P& p) { p.size = huge + huge + "\x86"; }), {"\"w\"", "elements"});
  refused(with([&](P& p) { p.size = huge + "\x85", p.stride = "K\x01\x85"; }), {"\"w\""});
  refused(with([&](P& p) { p.size = negative + "K\x01\x86"; }), {"from 0 expected", "-1"});
  refused(with([&](P& p) { p.stride = negative + "K\x01\x86"; }), {"stride", "-1"});
  refused(with([](P& p) { p.size = "K\x06\x85"; }), {"as many strides"});
  refused(with([](P& p) { p.size = "(K\x01K\x01K\x01K\x01K\x01K\x06t"; }), {"at most 5"});
  refused(with([](P& p) { p.size = "N"; }), {"tuple", "None"});
  refused(with([&](P& p) { p.numel = huge; }), {"x/data/0", "24 bytes"});
  refused(with([](P& p) { p.numel = "K\x05"; }), {"x/data/0", "5 elements"});
  refused(with([](P& p) { p.type = "DoubleStorage"; }), {"6 elements of f64", "24 bytes"});
  refused(with([](P& p) { p.type = "Anything"; }), {"dtype", "torch.Anything"});
  refused(with([](P& p) { p.key = "1"; }), {"x/data/1", "missing"});
  refused(with([](P& p) { p.key = "../../../../etc/passwd"; }), {"etc/passwd", "missing"});
  refused(with([](P& p) { p.maker = "torch._utils\n_rebuild_sparse_tensor\n"; }), {"dense tensor", "sparse"});
  refused(with([](P& p) { p.maker = "os\nsystem\n"; }), {"\"w\"", "os.system", "No code"});
}

// One element seen as a million million: refused before memory is asked for.
TEST_CASE("io/pytorch/an_expanded_tensor_is_no_bomb") {
  Pickled pickled;
  pickled.size = "J" + raw<std::int32_t>(1'000'000) + "J" + raw<std::int32_t>(1'000'000) + "\x86";
  pickled.stride = std::string("K\0K\0\x86", 5);
  refused(archive(pickled.text()), {"\"w\"", "at most", "bytes of tensors"});
  // Many small ones add up to the same.
  std::string many = "\x80\x02}";
  pickled.size = "J" + raw<std::int32_t>(100'000) + "\x85";
  pickled.stride = std::string("K\0\x85", 3);
  const std::string one = pickled.text();
  for (int i = 0; i < 100; ++i) {
    std::string item = one.substr(3, one.size() - 4);
    item.replace(item.find("Vw\n"), 3, "Vw" + std::to_string(i) + "\n");
    many += item;
  }
  refused(archive(many + "."), {"at most", "bytes of tensors"});
}

TEST_CASE("io/pytorch/hostile_archives_are_refused") {
  const std::string good = Pickled().text();
  refused(bytes_of(""), {"byte 0"});
  refused(bytes_of("PK\x03\x04"), {"zip archive"});
  refused(bytes_of(zip_archive({})), {"byte 0"});
  refused(bytes_of(zip_archive({{"x/other", "y"}})), {"data.pkl", "there are 0"});
  refused(archive(good, {{"y/data.pkl", "N."}}), {"there are 2"});
  refused(archive(good, {}), {"x/data/0", "missing"});
  refused(archive(good, {{"x/data/0", six_floats()}, {"x/data/0", six_floats()}}), {"twice"});
  refused(archive(good, {{"x/data/0", six_floats()}, {"x/byteorder", "big"}}), {"byteorder", "\"big\""});
  CHECK(parse(archive(good, {{"x/data/0", six_floats()}, {"x/byteorder", "little"}})).tensors.size() == 1);
  refused(archive(good, {{"x/data/0", six_floats(), 12}}), {"method", "12"});
  refused(archive(good, {{"x/data/0", six_floats(), 0, -1, 1}}), {"x/data/0", "CRC"});
  refused(archive(good, {{"x/data/0", six_floats(), 0, 0xFFFFFFF0}}), {"at most", "16 times"});
  std::vector<ZipEntry> many;  // each within the limit, together beyond it
  for (int i = 0; i < 20; ++i) many.push_back({"x/data/" + std::to_string(i), six_floats(), 8, 100'000});
  refused(archive(good, many), {"at most", "16 times"});
  refused(archive(good, {{"x/data/0", six_floats(), 8}}), {"x/data/0"});  // not deflated data
  refused(archive("K\x01."), {"a dict expected", "an int"});
  refused(archive("}."), {"dict of tensors", "none"});
  refused(archive("}K\x01K\x02s."), {"names of tensors"});
  refused(archive("}Vmodel\n}s."), {"dict of tensors"});
}

TEST_CASE("io/pytorch/cut_or_changed_anywhere_is_refused_or_read") {
  for (const char* name : {"tensors.pth", "deflated.pth"}) {
    const Bytes whole = read_bytes(kFiles / name);
    for (std::size_t size = 0; size < whole.size(); size += 13) {
      INFO(size);
      CHECK_THROWS_AS(parse(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size))),
                      FileError);
    }
    Random random(3);
    for (int i = 0; i < 2000; ++i) {
      Bytes changed = whole;
      changed[static_cast<std::size_t>(random.below(static_cast<std::int64_t>(whole.size())))] =
          static_cast<std::byte>(random.next());
      try {
        parse(changed);
      } catch (const FileError&) {
      }
    }
  }
}
