// OnnxGraph: builds a network in the ONNX format node by node, and writes it (through protobuf, with ONNX's
// own schema).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/tensor.h"

namespace replk {

/// An axis of an input or output: an extent, or a name for one that is known only when the network runs.
using OnnxAxis = std::variant<std::int64_t, std::string>;
/// The value of a node's attribute.
using OnnxValue = std::variant<std::int64_t, float, std::vector<std::int64_t>>;

/// Every value in the graph has a name; nodes are added in an order in which they can run.
/// Source: the ONNX specification, IR version 7 and operator set 13.
class OnnxGraph {
 public:
  explicit OnnxGraph(const std::string& name);
  ~OnnxGraph();
  OnnxGraph(const OnnxGraph&) = delete;
  OnnxGraph& operator=(const OnnxGraph&) = delete;

  static constexpr std::int64_t kIrVersion = 7, kOperatorSet = 13;

  /// An f32 input or output of the whole graph.
  void input(const std::string& name, const std::vector<OnnxAxis>& axes);
  void output(const std::string& name, const std::vector<OnnxAxis>& axes);
  /// Adds weights as f32 and returns `name`.
  std::string constant(const std::string& name, const Tensor& tensor);
  /// Adds an operator and returns the name of its only output, which is `output`.
  std::string node(const std::string& op, const std::vector<std::string>& inputs, const std::string& output,
                   const std::vector<std::pair<std::string, OnnxValue>>& attributes = {});
  /// Writes the file as a whole or not at all, with `metadata` as its properties. Throws Error beyond 2 GiB,
  /// which protobuf cannot write.
  void write(const std::filesystem::path& path, const std::map<std::string, std::string>& metadata = {});

 private:
  struct Model;
  std::unique_ptr<Model> model_;
};

}  // namespace replk
