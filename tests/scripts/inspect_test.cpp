// replk inspect: listings, comparisons, pictures of kernels.
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "data/codec.h"
#include "io/safetensors.h"
#include "scripts/replk/tensor_report.h"
#include "tests/scripts/command_files.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"

namespace replk::test {
namespace {

using Json = nlohmann::json;

constexpr const char* kMicro = "tests/fixtures/replknet_micro.pth";

Tensor floats(std::vector<float> values) {
  const auto count = static_cast<std::int64_t>(values.size());
  return Tensor::of(values, {count});
}

}  // namespace

TEST_CASE("scripts/inspect/statistics") {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const TensorStatistics s = statistics_of(floats({3, nan, -1, inf, 4}));
  CHECK(s.min == -1);
  CHECK(s.max == 4);
  CHECK(s.mean == 2);
  CHECK(s.std == Approx(std::sqrt(14.0 / 3)));
  CHECK(s.not_finite == 2);
  const TensorStatistics none = statistics_of(floats({nan}));
  CHECK(std::isnan(none.min));
  CHECK(std::isnan(none.mean));
  CHECK(none.not_finite == 1);
  CHECK(std::isnan(statistics_of(floats({})).max));
  CHECK(statistics_of(Tensor::of(std::vector<std::uint8_t>{7, 9}, {2})).mean == 8);
}

TEST_CASE("scripts/inspect/differences") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const NamedTensors first = {{"a", floats({1, 2})},   {"b", floats({1, -8, 2})}, {"c", floats({1})},
                              {"n", floats({nan, 1})}, {"only", floats({1})},     {"m", floats({nan})},
                              {"d", floats({5})}};
  const NamedTensors second = {{"a", floats({1, 2})},   {"b", floats({1, -6, 2})}, {"c", floats({1, 1})},
                               {"n", floats({nan, 1})}, {"other", floats({1})},    {"m", floats({1})},
                               {"d", floats({4})}};
  const TensorDifferences d = compare_tensors(first, second);
  CHECK(d.only_in_first == std::vector<std::string>{"only"});
  CHECK(d.only_in_second == std::vector<std::string>{"other"});
  REQUIRE(d.shapes.size() == 1);
  CHECK(d.shapes[0].name == "c");
  CHECK(d.shapes[0].second == Shape{2});
  REQUIRE(d.values.size() == 3);  // the largest first; NaN beside a number is the largest there is
  CHECK(d.values[0].name == "m");
  CHECK(std::isinf(d.values[0].largest));
  CHECK(d.values[1].name == "b");
  CHECK(d.values[1].largest == 2);
  CHECK(d.values[1].relative == 0.25);
  CHECK(d.values[2].name == "d");
  CHECK(d.equal == 2);
  CHECK_FALSE(d.none());
  CHECK(compare_tensors(first, first).none());
}

TEST_CASE("scripts/inspect/listing") {
  const std::string tensors = "tests/fixtures/pytorch/tensors.pth";
  const Outcome text = run_replk({"inspect", tensors});
  CHECK(text.code == 0);
  CHECK(contains(text.out, "bf16"));
  CHECK(contains(text.out, "15 tensors, 102 elements"));
  const Json json = Json::parse(run_replk({"inspect", tensors, "--json", "--filter", "o"}).out);
  std::vector<std::string> names;
  for (const Json& tensor : json["tensors"]) names.push_back(tensor["name"]);
  CHECK(names == std::vector<std::string>{"bool", "corner", "rows", "transposed", "whole"});
  CHECK(json["tensors"][1]["shape"] == Json{2, 3});
  CHECK(json["tensors"][1]["dtype"] == "f32");
  CHECK(json["tensors"][1]["max"] == 23.0);
  const Outcome training =
      run_replk({"inspect", "tests/fixtures/pytorch/training.pth", "--entry", "model_ema"});
  CHECK(training.code == 0);
  CHECK(contains(training.err, "note: skipped beside"));
  CHECK(contains(training.out, "weight"));
  const Outcome none = run_replk({"inspect", "nowhere.safetensors"});
  CHECK(none.code == 3);
  CHECK(is_one_line_error(none.err));
}

TEST_CASE("scripts/inspect/two_files") {
  const TemporaryFolder folder;
  const std::string path = (folder / "x.safetensors").string();
  REQUIRE(run_replk({"convert", kMicro, path}).code == 0);
  const Outcome same = run_replk({"inspect", kMicro, path});
  CHECK(same.code == 0);
  CHECK(contains(same.out, "297 tensors are equal"));

  Safetensors file = read_safetensors(path);
  file.tensors.at("head.bias").data<float>()[3] += 0.5F;
  file.tensors.erase("norm.bias");
  write_safetensors(path, file.tensors, file.metadata);
  const Outcome differs = run_replk({"inspect", kMicro, path});
  CHECK(differs.code == 1);
  CHECK(contains(differs.out, "only in the first (1):\n  norm.bias"));
  CHECK(contains(differs.out, "head.bias"));
  const Outcome json = run_replk({"inspect", path, kMicro, "--json"});
  CHECK(json.code == 1);
  const Json parsed = Json::parse(json.out);
  CHECK(parsed["only_in_second"] == Json{"norm.bias"});
  CHECK(parsed["values"][0]["name"] == "head.bias");
  CHECK(parsed["values"][0]["largest"].get<double>() == Approx(0.5).margin(1e-6));
  CHECK(parsed["equal"] == 295);
}

TEST_CASE("scripts/inspect/kernels_are_drawn") {
  // Two layers in the order of their numbers; a row of pixels of the first kernel in known colours.
  Tensor kernel = Tensor::zeros({2, 1, 5, 5});
  kernel.data<float>()[0] = 2;   // top left: the largest
  kernel.data<float>()[4] = -1;  // top right: half of it, negative
  const NamedTensors tensors = {
      {"stages.0.blocks.10.large_kernel.lkb_origin.conv.weight", Tensor::full({1, 1, 7, 7}, 1)},
      {"stages.0.blocks.2.large_kernel.lkb_origin.conv.weight", kernel},
      {"stem.1.conv.weight", Tensor::zeros({4, 1, 3, 3})},
      {"pw", Tensor::zeros({4, 4, 1, 1})}};
  const Image image = kernel_picture(tensors, 5, 3);
  CHECK(image.channels == 3);
  const auto has = [&](std::int64_t from, std::int64_t to, std::array<int, 3> colour) {
    std::int64_t count = 0;
    for (std::int64_t y = from; y < to; ++y)
      for (std::int64_t x = 0; x < image.width; ++x)
        count += image.at(y, x, 0) == colour[0] && image.at(y, x, 1) == colour[1] &&
                 image.at(y, x, 2) == colour[2];
    return count;
  };
  // 72 pixels for 5: one element is 14 or 15 pixels wide.
  const std::int64_t half = image.height / 2;
  CHECK(has(0, half, {255, 0, 0}) == 15 * 15);
  CHECK(has(0, half, {128, 128, 255}) == 15 * 14);
  CHECK(has(half, image.height, {255, 0, 0}) == 72 * 72);  // the layer after it: all of it the largest
  check_error([&] { kernel_picture(tensors, 9); }, {"9x9", "none"});

  const TemporaryFolder folder;
  const std::string png = (folder / "k.png").string();
  CHECK(run_replk({"inspect", kMicro, "--kernels", png}).code == 0);
  const Image drawn = load_image(png);
  CHECK(drawn.width > 12 * 72);
  const Outcome none = run_replk({"inspect", "tests/fixtures/pytorch/tensors.pth", "--kernels", png});
  CHECK(none.code == 3);
  CHECK(contains(none.err, "depth-wise kernels"));
}

}  // namespace replk::test
