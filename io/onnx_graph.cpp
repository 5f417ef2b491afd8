#include "io/onnx_graph.h"

#include <onnx/onnx_pb.h>

#include <limits>

#include "core/error.h"
#include "io/atomic_file.h"

namespace replk {
namespace {

void describe(onnx::ValueInfoProto& value, const std::string& name, const std::vector<OnnxAxis>& axes) {
  value.set_name(name);
  auto& type = *value.mutable_type()->mutable_tensor_type();
  type.set_elem_type(onnx::TensorProto::FLOAT);
  type.mutable_shape();  // rank 0 is a shape too
  for (const OnnxAxis& axis : axes) {
    auto& dim = *type.mutable_shape()->add_dim();
    if (const auto* extent = std::get_if<std::int64_t>(&axis))
      dim.set_dim_value(*extent);
    else
      dim.set_dim_param(std::get<std::string>(axis));
  }
}

void set(onnx::AttributeProto& attribute, const std::string& name, const OnnxValue& value) {
  attribute.set_name(name);
  if (const auto* number = std::get_if<std::int64_t>(&value)) {
    attribute.set_type(onnx::AttributeProto::INT);
    attribute.set_i(*number);
  } else if (const auto* real = std::get_if<float>(&value)) {
    attribute.set_type(onnx::AttributeProto::FLOAT);
    attribute.set_f(*real);
  } else {
    attribute.set_type(onnx::AttributeProto::INTS);
    for (const std::int64_t item : std::get<std::vector<std::int64_t>>(value)) attribute.add_ints(item);
  }
}

}  // namespace

struct OnnxGraph::Model {
  onnx::ModelProto proto;
};

OnnxGraph::OnnxGraph(const std::string& name) : model_(std::make_unique<Model>()) {
  model_->proto.set_ir_version(kIrVersion);
  model_->proto.set_producer_name("RepLK");
  auto& set = *model_->proto.add_opset_import();
  set.set_domain("");
  set.set_version(kOperatorSet);
  model_->proto.mutable_graph()->set_name(name);
}

OnnxGraph::~OnnxGraph() = default;

void OnnxGraph::input(const std::string& name, const std::vector<OnnxAxis>& axes) {
  describe(*model_->proto.mutable_graph()->add_input(), name, axes);
}

void OnnxGraph::output(const std::string& name, const std::vector<OnnxAxis>& axes) {
  describe(*model_->proto.mutable_graph()->add_output(), name, axes);
}

std::string OnnxGraph::constant(const std::string& name, const Tensor& tensor) {
  auto& proto = *model_->proto.mutable_graph()->add_initializer();
  proto.set_name(name);
  proto.set_data_type(onnx::TensorProto::FLOAT);
  for (const std::int64_t extent : tensor.shape()) proto.add_dims(extent);
  const std::vector<double> values = tensor.to_vector();
  const std::vector<float> floats(values.begin(), values.end());
  proto.set_raw_data(floats.data(), floats.size() * sizeof(float));
  return name;
}

std::string OnnxGraph::node(const std::string& op, const std::vector<std::string>& inputs,
                            const std::string& output,
                            const std::vector<std::pair<std::string, OnnxValue>>& attributes) {
  auto& node = *model_->proto.mutable_graph()->add_node();
  node.set_op_type(op);
  node.set_name(output);
  for (const std::string& name : inputs) node.add_input(name);
  node.add_output(output);
  for (const auto& [name, value] : attributes) set(*node.add_attribute(), name, value);
  return output;
}

void OnnxGraph::write(const std::filesystem::path& path, const std::map<std::string, std::string>& metadata) {
  model_->proto.clear_metadata_props();
  for (const auto& [key, text] : metadata) {
    auto& entry = *model_->proto.add_metadata_props();
    entry.set_key(key);
    entry.set_value(text);
  }
  const std::size_t bytes = model_->proto.ByteSizeLong();
  check(bytes <= std::size_t{std::numeric_limits<int>::max()}, "OnnxGraph::write: ", path.string(),
        ": a file of less than 2 GiB expected (protobuf's limit), this network needs ", bytes, " bytes.");
  std::string text;
  check(model_->proto.SerializeToString(&text), "OnnxGraph::write: ", path.string(),
        ": protobuf refuses the network.");
  write_file_atomically(path, std::string_view(text));
}

}  // namespace replk
