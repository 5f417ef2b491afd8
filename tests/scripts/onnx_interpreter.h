// Runs an ONNX file by definition, in double: what the written graph computes, independently of our
// operators.
#pragma once

#include <onnx/onnx_pb.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace replk::test {

struct OnnxArray {
  std::vector<std::int64_t> dims;
  std::vector<double> values;
};

inline onnx::ModelProto read_onnx(const std::string& path) {
  onnx::ModelProto model;
  std::ifstream stream(path, std::ios::binary);
  if (!model.ParseFromIstream(&stream)) throw std::runtime_error("not an ONNX file: " + path);
  return model;
}

/// Knows the operators that a RepLKNet needs, and throws for any other one.
class OnnxInterpreter {
 public:
  explicit OnnxInterpreter(const onnx::ModelProto& model) : graph_(model.graph()) {
    for (const auto& tensor : graph_.initializer()) {
      OnnxArray& array = values_[tensor.name()];
      array.dims.assign(tensor.dims().begin(), tensor.dims().end());
      std::vector<float> floats(tensor.raw_data().size() / sizeof(float));
      std::memcpy(floats.data(), tensor.raw_data().data(), tensor.raw_data().size());
      array.values.assign(floats.begin(), floats.end());
    }
  }

  std::map<std::string, OnnxArray> run(const OnnxArray& images) {
    values_["images"] = images;
    for (const auto& node : graph_.node()) values_[node.output(0)] = run_node(node);
    std::map<std::string, OnnxArray> outputs;
    for (const auto& output : graph_.output()) outputs[output.name()] = values_.at(output.name());
    return outputs;
  }

 private:
  const onnx::AttributeProto& attribute(const onnx::NodeProto& node, const std::string& name) const {
    for (const auto& attribute : node.attribute())
      if (attribute.name() == name) return attribute;
    throw std::runtime_error(node.op_type() + " without " + name);
  }

  OnnxArray run_node(const onnx::NodeProto& node) {
    const auto in = [&](int i) -> const OnnxArray& { return values_.at(node.input(i)); };
    const std::string& op = node.op_type();
    if (op == "Conv") return conv(node, in(0), in(1), node.input_size() > 2 ? &in(2) : nullptr);
    if (op == "BatchNormalization") return batch_norm(node, in(0), in(1), in(2), in(3), in(4));
    if (op == "Identity") return in(0);
    if (op == "Relu") return map(in(0), [](double v) { return v > 0 ? v : 0; });
    if (op == "Erf") return map(in(0), [](double v) { return std::erf(v); });
    if (op == "Add") return zip(in(0), in(1), [](double a, double b) { return a + b; });
    if (op == "Mul") return zip(in(0), in(1), [](double a, double b) { return a * b; });
    if (op == "GlobalAveragePool") return average(in(0));
    if (op == "Flatten")
      return {{in(0).dims[0], in(0).dims[1] * in(0).dims[2] * in(0).dims[3]}, in(0).values};
    if (op == "Gemm") return gemm(node, in(0), in(1), in(2));
    throw std::runtime_error("operator " + op);
  }

  template <class F>
  static OnnxArray map(OnnxArray x, F f) {
    for (double& value : x.values) value = f(value);
    return x;
  }
  template <class F>
  static OnnxArray zip(OnnxArray a, const OnnxArray& b, F f) {
    if (!b.dims.empty() && b.dims != a.dims) throw std::runtime_error("shapes differ");
    for (std::size_t i = 0; i < a.values.size(); ++i)
      a.values[i] = f(a.values[i], b.values[b.dims.empty() ? 0 : i]);
    return a;
  }

  static OnnxArray batch_norm(const onnx::NodeProto& node, OnnxArray x, const OnnxArray& scale,
                              const OnnxArray& shift, const OnnxArray& mean, const OnnxArray& var) {
    const double eps = static_cast<double>(node.attribute(0).f());
    const auto plane = static_cast<std::size_t>(x.dims[2] * x.dims[3]), channels = scale.values.size();
    for (std::size_t i = 0; i < x.values.size(); ++i) {
      const std::size_t c = i / plane % channels;
      x.values[i] =
          (x.values[i] - mean.values[c]) / std::sqrt(var.values[c] + eps) * scale.values[c] + shift.values[c];
    }
    return x;
  }

  OnnxArray conv(const onnx::NodeProto& node, const OnnxArray& x, const OnnxArray& w,
                 const OnnxArray* bias) const {
    const std::int64_t groups = attribute(node, "group").i(), stride = attribute(node, "strides").ints(0);
    const std::int64_t pad = attribute(node, "pads").ints(0);
    const std::int64_t n = x.dims[0], c = x.dims[1], h = x.dims[2], width = x.dims[3];
    const std::int64_t k = w.dims[0], inner = w.dims[1], kh = w.dims[2], kw = w.dims[3];
    if (inner * groups != c) throw std::runtime_error("groups of a Conv");
    const std::int64_t ho = (h + 2 * pad - kh) / stride + 1, wo = (width + 2 * pad - kw) / stride + 1;
    OnnxArray y{{n, k, ho, wo}, {}};
    for (std::int64_t image = 0; image < n; ++image)
      for (std::int64_t out = 0; out < k; ++out)
        for (std::int64_t i = 0; i < ho; ++i)
          for (std::int64_t j = 0; j < wo; ++j) {
            double sum = bias ? bias->values[static_cast<std::size_t>(out)] : 0;
            for (std::int64_t in = 0; in < inner; ++in)
              for (std::int64_t u = 0; u < kh; ++u)
                for (std::int64_t v = 0; v < kw; ++v) {
                  const std::int64_t a = i * stride + u - pad, b = j * stride + v - pad;
                  if (a < 0 || a >= h || b < 0 || b >= width) continue;
                  const std::int64_t channel = out / (k / groups) * inner + in;
                  sum += x.values[static_cast<std::size_t>(((image * c + channel) * h + a) * width + b)] *
                         w.values[static_cast<std::size_t>(((out * inner + in) * kh + u) * kw + v)];
                }
            y.values.push_back(sum);
          }
    return y;
  }

  static OnnxArray average(const OnnxArray& x) {
    OnnxArray y{{x.dims[0], x.dims[1], 1, 1}, {}};
    const auto plane = static_cast<std::size_t>(x.dims[2] * x.dims[3]);
    for (std::size_t i = 0; i < x.values.size(); i += plane) {
      double sum = 0;
      for (std::size_t p = 0; p < plane; ++p) sum += x.values[i + p];
      y.values.push_back(sum / static_cast<double>(plane));
    }
    return y;
  }

  OnnxArray gemm(const onnx::NodeProto& node, const OnnxArray& x, const OnnxArray& w,
                 const OnnxArray& bias) const {
    if (attribute(node, "transB").i() != 1) throw std::runtime_error("Gemm without transB");
    const auto features = static_cast<std::size_t>(w.dims[1]);
    OnnxArray y{{x.dims[0], w.dims[0]}, {}};
    for (std::size_t n = 0; n < static_cast<std::size_t>(x.dims[0]); ++n)
      for (std::size_t k = 0; k < bias.values.size(); ++k) {
        double sum = bias.values[k];
        for (std::size_t c = 0; c < features; ++c)
          sum += x.values[n * features + c] * w.values[k * features + c];
        y.values.push_back(sum);
      }
    return y;
  }

  const onnx::GraphProto& graph_;
  std::map<std::string, OnnxArray> values_;
};

}  // namespace replk::test
