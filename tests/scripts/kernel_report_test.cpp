// Which kernels run is said, and can be chosen, on the command line.
#include "scripts/replk/kernel_report.h"

#include <nlohmann/json.hpp>

#include "tests/scripts/command_files.h"
#include "tests/support/catch.h"

namespace replk::test {
namespace {

using Json = nlohmann::json;

// The kernels of a network of tests/scripts/command_files.h at 16x16, by what the report calls the layers.
std::map<std::string, DepthwiseLayers> rows_of(const RepLKNetConfig& config, std::int64_t batch) {
  std::map<std::string, DepthwiseLayers> rows;
  for (const DepthwiseLayers& row : depthwise_layers(config, Device::cpu(), batch, kSide, kSide))
    rows[str(row.name(), " x ", row.channels)] = row;
  return rows;
}

struct RestoreDefault {
  ~RestoreDefault() { set_default_depthwise_kernel(DepthwiseKernel::automatic); }
};

}  // namespace

TEST_CASE("scripts/kernel_report/layers_of_a_network") {
  const RestoreDefault restore;
  const RepLKNetConfig config = make_network()->config();
  auto rows = rows_of(config, 8);
  // Stem 16 -> 8, large and small kernels of both stages, and the transition 8 -> 4.
  REQUIRE(rows.size() == 5);
  CHECK(rows.at("3x3 at 8x8 x 8").layers == 3);  // twice in the stem, once beside the large kernel
  CHECK(rows.at("7x7 at 8x8 x 8").layers == 1);
  CHECK(rows.at("3x3 stride 2 at 8x8 x 12").layers == 1);
  CHECK(rows.at("5x5 at 4x4 x 12").layers == 1);
  CHECK(rows.at("3x3 at 4x4 x 12").layers == 1);
  for (const auto& [name, row] : rows) {
    INFO(name);
    CHECK(row.as_asked);
    CHECK((row.forward == "fft" || row.forward == "direct"));
  }

  set_default_depthwise_kernel(DepthwiseKernel::fft);
  rows = rows_of(config, 8);
  const DepthwiseLayers large = rows.at("7x7 at 8x8 x 8"), strided = rows.at("3x3 stride 2 at 8x8 x 12");
  CHECK((large.forward == "fft" && large.backward_input == "fft" && large.backward_weight == "fft"));
  CHECK(large.as_asked);
  CHECK(strided.forward == "direct");
  CHECK_FALSE(strided.as_asked);
}

TEST_CASE("scripts/kernel_report/lines") {
  const RestoreDefault restore;
  std::vector<DepthwiseLayers> rows = {{.channels = 8,
                                        .map = 14,
                                        .kernel = 13,
                                        .stride = 1,
                                        .layers = 2,
                                        .forward = "fft",
                                        .backward_input = "fft",
                                        .backward_weight = "direct"},
                                       {.channels = 8,
                                        .map = {14, 7},
                                        .kernel = 5,
                                        .stride = 1,
                                        .layers = 3,
                                        .forward = "direct",
                                        .backward_input = "fft",
                                        .backward_weight = "fft"},
                                       {.channels = 16,
                                        .map = {14, 7},
                                        .kernel = 5,
                                        .stride = 1,
                                        .layers = 1,
                                        .forward = "direct",
                                        .backward_input = "fft",
                                        .backward_weight = "fft"},
                                       {.channels = 8,
                                        .map = 28,
                                        .kernel = 3,
                                        .stride = 2,
                                        .layers = 1,
                                        .forward = "direct",
                                        .backward_input = "naive",
                                        .backward_weight = "fft"}};
  using Lines = std::vector<std::string>;
  CHECK(kernel_lines(rows, Passes::forward) ==
        Lines{"depth-wise kernels: 13x13 at 14x14 fft, 5x5 at 14x7 direct, 3x3 stride 2 at 28x28 direct"});
  CHECK(kernel_lines(rows, Passes::all) ==
        Lines{"depth-wise kernels: 13x13 at 14x14 fft (weight gradient direct), "
              "5x5 at 14x7 direct (gradients fft), "
              "3x3 stride 2 at 28x28 direct (input gradient naive, weight gradient fft)",
              "no fast kernel for 1 of 7 layers (slow): "
              "3x3 stride 2 at 28x28 direct (input gradient naive, weight gradient fft)"});
  set_default_depthwise_kernel(DepthwiseKernel::fft);
  rows[2].as_asked = rows[3].as_asked = false;
  const Lines lines = kernel_lines(rows, Passes::forward);
  REQUIRE(lines.size() == 2);
  CHECK(lines[1] ==
        "--depthwise-kernel fft does not apply to 2 of 7 layers: 5x5 at 14x7 direct, "
        "3x3 stride 2 at 28x28 direct");
}

TEST_CASE("scripts/kernel_report/a_naive_kernel_is_not_silent") {
  const RestoreDefault restore;
  RepLKNetConfig config = make_network()->config();
  config.stem_strides = {1, 3};  // of the stem's last convolution, which is depth-wise
  const auto layers = [&] { return depthwise_layers(config, Device::cpu(), 8, kSide, kSide); };
  const std::vector<std::string> lines = kernel_lines(layers(), Passes::all);
  REQUIRE(lines.size() == 2);
  CHECK(lines[1] == "no fast kernel for 1 of 7 layers (slow): 3x3 stride 3 at 16x16 naive");
  CHECK(contains(kernel_table(layers()), "\n" + lines[1] + "\n"));
  set_default_depthwise_kernel(DepthwiseKernel::naive);  // asked for: nothing to say
  CHECK(kernel_lines(layers(), Passes::all).size() == 1);
}

TEST_CASE("scripts/kernel_report/summary") {
  const Outcome plain = run_replk({"summary", "replknet-nano"});
  CHECK_FALSE(contains(plain.out, "Kernels"));
  const Outcome outcome = run_replk({"summary", "replknet-nano", "--kernels", "--batch-size", "64"});
  CHECK(outcome.code == 0);
  CHECK(outcome.out.starts_with(plain.out));
  CHECK(contains(outcome.out, "Kernels on the CPU with "));
  CHECK(contains(outcome.out, "\n13x13 at 14x14 "));
  CHECK(contains(outcome.out, "weight gradient"));
  CHECK_FALSE(contains(outcome.out, "does not apply"));
  CHECK_FALSE(contains(outcome.out, "naive"));
  const Outcome fft = run_replk({"summary", "replknet-nano", "--kernels", "--depthwise-kernel", "fft"});
  CHECK(contains(fft.out, "batches of 1:"));
  CHECK(contains(fft.out, "--depthwise-kernel fft does not apply to 1 of 7 layers: 3x3 stride 2 at "));
  const Outcome naive = run_replk({"summary", "replknet-nano", "--kernels", "--depthwise-kernel", "naive"});
  const std::string table = naive.out.substr(naive.out.find("Kernels on"));
  CHECK((contains(table, "naive") && !contains(table, "direct") && !contains(table, "fft")));
}

TEST_CASE("scripts/kernel_report/eval_and_predict") {
  const std::string checkpoint = command_files().checkpoint().string();
  const Outcome eval = run_replk({"eval", checkpoint, "--depthwise-kernel", "fft"});
  CHECK(eval.code == 0);
  CHECK(contains(eval.out, "\ndepth-wise kernels: 3x3 at 8x8 fft, "));
  CHECK(contains(eval.out, "\n--depthwise-kernel fft does not apply to "));
  CHECK(contains(eval.out, "80.00 %"));
  const Outcome predict = run_replk({"predict", checkpoint, "--index", "1,2", "--depthwise-kernel", "naive"});
  CHECK(predict.code == 0);
  CHECK(contains(predict.out, "\ndepth-wise kernels: 3x3 at 8x8 naive, "));
  CHECK(contains(predict.out, "2 of 2 right"));
  for (const char* command : {"eval", "predict"}) {
    std::vector<std::string> words = {command, checkpoint, "--json", "--depthwise-kernel", "direct"};
    if (command == std::string("predict")) words.insert(words.end(), {"--index", "1"});
    const Json kernels = Json::parse(run_replk(words).out)["kernels"];
    REQUIRE(kernels.size() == 1);
    CHECK(kernels[0].get<std::string>().starts_with("depth-wise kernels: 3x3 at 8x8 direct, "));
  }
}

}  // namespace replk::test
