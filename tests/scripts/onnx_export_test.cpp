// ONNX files: what the graph computes, how it declares itself, and the command that writes it.
#include "scripts/replk/onnx_export.h"

#include <limits>
#include <set>

#include "scripts/replk/checkpoint.h"
#include "tests/scripts/command_files.h"
#include "tests/scripts/onnx_interpreter.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"
#include "tests/support/layout.h"

namespace replk::test {
namespace {

// Every network below has weights, statistics and shifts that are not those of a new one.
void stir(RepLKNet& model) {
  std::uint64_t seed = 1;
  for (NamedTensor& entry : model.state()) {
    if (entry.tensor.dtype() != DType::f32) continue;
    const bool var = entry.name.ends_with("running_var");
    entry.tensor.copy_from(
        random_tensor(entry.tensor.shape(), ++seed, var ? 0.5 : -0.4, var ? 1.5 : 0.4, DType::f32));
  }
  model.eval();
}

RepLKNetConfig network() {
  return {.large_kernel_sizes = {7, 5},
          .layers = {1, 2},
          .channels = {4, 6},
          .small_kernel = 3,
          .dw_ratio = 1.5,
          .ffn_ratio = 2,
          .num_classes = 5,
          .stem_strides = {2, 1}};
}

// The file's outputs against the network's, on two images of 11 x 14.
void check_same(RepLKNet& model, const std::string& path) {
  const Tensor images = random_tensor({2, model.config().in_channels, 11, 14}, 3);
  const auto file = read_onnx(path);
  const auto outputs =
      OnnxInterpreter(file).run({{images.shape().begin(), images.shape().end()}, images.to_vector()});
  model.to(DType::f64);
  const Variable x = to_cnhw(images);
  std::vector<Variable> expected;
  if (!model.config().out_indices.empty())
    expected = model.forward_outputs(x);
  else
    expected.push_back(model(x));
  REQUIRE(outputs.size() == expected.size());
  std::size_t i = 0;
  for (const auto& [name, output] : outputs) {
    INFO(name);
    const Tensor y = expected[i].data().rank() == 4 ? to_nchw(expected[i].data()) : expected[i].data();
    ++i;
    CHECK(output.dims == std::vector<std::int64_t>(y.shape().begin(), y.shape().end()));
    // f64 on both sides; sqrt(1/2), eps and weights are rounded to f32 in the file.
    const Values reference = y.to_vector();
    CHECK(max_difference(output.values, reference) <= 1e-6 * max_magnitude(reference));
  }
  model.to(DType::f32);
}

std::vector<std::string> dims_of(const onnx::ValueInfoProto& value) {
  std::vector<std::string> dims;
  for (const auto& dim : value.type().tensor_type().shape().dim())
    dims.push_back(dim.has_dim_value() ? std::to_string(dim.dim_value()) : dim.dim_param());
  return dims;
}

}  // namespace

TEST_CASE("scripts/onnx/the_graph_computes_what_the_network_computes") {
  const TemporaryFolder folder;
  const std::string path = (folder / "net.onnx").string();
  std::vector<RepLKNetConfig> configs(5, network());
  configs[1].small_kernel = 0, configs[1].in_channels = 1;
  configs[2].num_classes = 0;
  configs[3].num_classes = 0, configs[3].norm_intermediate_features = true, configs[3].out_indices = {0, 1};
  configs[4].shortcut = false;
  for (const RepLKNetConfig& config : configs) {
    RepLKNet model(config, 3);
    stir(model);
    for (int form = 0; form < 3; ++form) {
      INFO(to_json(config) << (form == 0 ? " training-time" : form == 1 ? " merged" : " folded"));
      if (form == 1) model.structural_reparam();
      if (form == 2) model.fold_batch_norm();
      export_onnx(path, model, 0, 0);
      check_same(model, path);
      std::set<std::string> operators;
      const auto file = read_onnx(path);
      for (const auto& node : file.graph().node()) operators.insert(node.op_type());
      const bool norms_left = form < 2 || config.norm_intermediate_features;
      CHECK(operators.contains("BatchNormalization") == norms_left);
      CHECK(operators.contains("Gemm") == (config.num_classes > 0));
    }
  }
}

TEST_CASE("scripts/onnx/the_file_declares_itself") {
  const TemporaryFolder folder;
  const std::string path = (folder / "net.onnx").string();
  RepLKNet model(network());
  export_onnx(path, model, 0, 0, {{"card", "text"}});
  auto file = read_onnx(path);
  CHECK(file.ir_version() == 7);
  REQUIRE(file.opset_import_size() == 1);
  CHECK(file.opset_import(0).version() == 13);
  CHECK(file.opset_import(0).domain().empty());
  REQUIRE(file.metadata_props_size() == 1);
  CHECK(file.metadata_props(0).value() == "text");
  REQUIRE(file.graph().input_size() == 1);
  CHECK(dims_of(file.graph().input(0)) == std::vector<std::string>{"batch", "3", "height", "width"});
  REQUIRE(file.graph().output_size() == 1);
  CHECK(file.graph().output(0).name() == "logits");
  CHECK(dims_of(file.graph().output(0)) == std::vector<std::string>{"batch", "5"});

  // Names are used once, and only after they were made.
  std::set<std::string> known = {"images"};
  for (const auto& tensor : file.graph().initializer()) {
    CHECK(known.insert(tensor.name()).second);
    CHECK(tensor.data_type() == onnx::TensorProto::FLOAT);
  }
  for (const auto& node : file.graph().node()) {
    for (const auto& input : node.input()) CHECK(known.contains(input));
    CHECK(known.insert(node.output(0)).second);
  }
  export_onnx(path, model, 20, 30);
  file = read_onnx(path);
  CHECK(dims_of(file.graph().input(0)) == std::vector<std::string>{"batch", "3", "20", "30"});
}

TEST_CASE("scripts/onnx/convert_writes_it") {
  const CommandFiles& files = command_files();
  const TemporaryFolder folder;
  const std::string path = (folder / "net.onnx").string();
  const Outcome outcome = run_replk({"convert", files.checkpoint().string(), path});
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  const auto file = read_onnx(path);
  CHECK(dims_of(file.graph().input(0)) ==
        std::vector<std::string>{"batch", "1", "16", "16"});  // as on the card
  std::map<std::string, std::string> metadata;
  for (const auto& entry : file.metadata_props()) metadata[entry.key()] = entry.value();
  CHECK(card_from_json(metadata.at("card"), "x").classes == files.card.classes);
  CHECK(config_from_json(metadata.at("config")) == files.model->config());

  const std::string micro = "tests/fixtures/replknet_micro.pth";
  CHECK(run_replk({"convert", micro, path, "--image-size", "64"}).code == 0);
  CHECK(dims_of(read_onnx(path).graph().input(0)) == std::vector<std::string>{"batch", "3", "64", "64"});
  const Outcome as_is = run_replk({"convert", micro, path, "--as-is"});
  CHECK(as_is.code == 2);
  CHECK(contains(as_is.err, "--as-is"));
}

}  // namespace replk::test
