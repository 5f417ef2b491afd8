#include "scripts/replk/onnx_export.h"

#include <cmath>
#include <utility>

#include "core/error.h"
#include "io/onnx_graph.h"

namespace replk {
namespace {

// Follows the forward pass of models/blocks.cpp and models/replknet.cpp, layer by layer, by the names of the
// state. A value is named after the layer it comes out of.
class Exporter {
 public:
  explicit Exporter(RepLKNet& model) : config_(model.config()), graph_("RepLKNet") {
    for (NamedTensor& entry : model.state()) state_[entry.name] = std::move(entry.tensor);
  }

  OnnxGraph& build(OnnxAxis height, OnnxAxis width) {
    graph_.input("images", {"batch", config_.in_channels, std::move(height), std::move(width)});
    std::string x = conv_bn("images", "stem.0", {.stride = config_.stem_strides[0], .relu = true});
    x = conv_bn(x, "stem.1", {.depthwise = true, .relu = true});
    x = conv_bn(x, "stem.2", {.relu = true});
    x = conv_bn(x, "stem.3", {.stride = config_.stem_strides[1], .depthwise = true, .relu = true});
    for (std::size_t stage = 0; stage < config_.channels.size(); ++stage) {
      x = stage_of(x, stage);
      if (stage + 1 == config_.channels.size()) break;
      const std::string transition = str("transitions.", stage);
      x = conv_bn(x, transition + ".0", {.relu = true});
      x = conv_bn(x, transition + ".1", {.stride = 2, .depthwise = true, .relu = true});
    }
    if (config_.num_classes > 0)
      head(x);
    else if (config_.out_indices.empty())
      feature_map(x, config_.channels.size() - 1);
    return graph_;
  }

 private:
  struct ConvOptions {
    std::int64_t stride = 1;
    bool depthwise = false, relu = false;
  };

  std::string weight(const std::string& name) { return graph_.constant(name, state_.at(name)); }

  // Padding is half of the kernel everywhere in this network.
  std::string conv(const std::string& x, const std::string& layer, ConvOptions options) {
    const Shape shape = state_.at(layer + ".weight").shape();
    const std::int64_t side = shape[2], pad = side / 2;
    std::vector<std::string> inputs = {x, weight(layer + ".weight")};
    if (state_.contains(layer + ".bias")) inputs.push_back(weight(layer + ".bias"));
    return graph_.node("Conv", inputs, layer,
                       {{"kernel_shape", std::vector<std::int64_t>{side, side}},
                        {"strides", std::vector<std::int64_t>{options.stride, options.stride}},
                        {"pads", std::vector<std::int64_t>{pad, pad, pad, pad}},
                        {"group", options.depthwise ? shape[0] : std::int64_t{1}}});
  }

  // Without an entry for the norm in the state it has been folded, and x goes on as it is.
  std::string norm(const std::string& x, const std::string& layer) {
    if (!state_.contains(layer + ".running_mean")) return x;
    constexpr float kEps = 1e-5F;
    return graph_.node("BatchNormalization",
                       {x, weight(layer + ".weight"), weight(layer + ".bias"),
                        weight(layer + ".running_mean"), weight(layer + ".running_var")},
                       layer, {{"epsilon", kEps}});
  }

  std::string relu(const std::string& x, const std::string& layer) {
    return graph_.node("Relu", {x}, layer + ".relu");
  }

  // x / 2 * (1 + erf(x / sqrt 2))
  std::string gelu(const std::string& x, const std::string& layer) {
    if (!std::exchange(has_gelu_, true)) {
      graph_.constant("sqrt_half", Tensor::full({}, std::sqrt(0.5)));
      graph_.constant("half", Tensor::full({}, 0.5));
      graph_.constant("one", Tensor::full({}, 1));
    }
    std::string y = graph_.node("Mul", {x, "sqrt_half"}, layer + ".gelu.scaled");
    y = graph_.node("Erf", {y}, layer + ".gelu.erf");
    y = graph_.node("Add", {y, "one"}, layer + ".gelu.gate");
    const std::string half = graph_.node("Mul", {x, "half"}, layer + ".gelu.half");
    return graph_.node("Mul", {half, y}, layer + ".gelu");
  }

  std::string conv_bn(const std::string& x, const std::string& layer, ConvOptions options) {
    const std::string y = norm(conv(x, layer + ".conv", options), layer + ".bn");
    return options.relu ? relu(y, layer) : y;
  }

  std::string large_kernel(const std::string& x, const std::string& layer) {
    if (state_.contains(layer + ".lkb_reparam.weight"))
      return relu(conv(x, layer + ".lkb_reparam", {.depthwise = true}), layer);
    std::string y = conv_bn(x, layer + ".lkb_origin", {.depthwise = true});
    if (config_.small_kernel > 0)
      y = graph_.node("Add", {y, conv_bn(x, layer + ".small_conv", {.depthwise = true})}, layer);
    return relu(y, layer);
  }

  std::string with_shortcut(const std::string& x, const std::string& y, const std::string& block) {
    return config_.shortcut ? graph_.node("Add", {x, y}, block) : y;
  }

  std::string replk_block(const std::string& x, const std::string& block) {
    std::string y = conv_bn(norm(x, block + ".prelkb_bn"), block + ".pw1", {.relu = true});
    y = conv_bn(large_kernel(y, block + ".large_kernel"), block + ".pw2", {});
    return with_shortcut(x, y, block);
  }

  std::string ffn_block(const std::string& x, const std::string& block) {
    std::string y = conv_bn(norm(x, block + ".preffn_bn"), block + ".pw1", {});
    y = conv_bn(gelu(y, block + ".pw1"), block + ".pw2", {});
    return with_shortcut(x, y, block);
  }

  std::string stage_of(std::string x, std::size_t stage) {
    for (std::int64_t pair = 0; pair < config_.layers[stage]; ++pair) {
      x = replk_block(x, str("stages.", stage, ".blocks.", 2 * pair));
      x = ffn_block(x, str("stages.", stage, ".blocks.", 2 * pair + 1));
    }
    if (config_.num_classes == 0)
      for (const std::int64_t index : config_.out_indices)
        if (std::cmp_equal(index, stage)) feature_map(norm(x, str("stages.", stage, ".norm")), stage);
    return x;
  }

  void feature_map(const std::string& x, std::size_t stage) {
    const std::string name = graph_.node("Identity", {x}, str("features", stage));
    graph_.output(name, {"batch", config_.channels[stage], str("height", stage), str("width", stage)});
  }

  void head(const std::string& x) {
    std::string y = graph_.node("GlobalAveragePool", {norm(x, "norm")}, "pooled");
    y = graph_.node("Flatten", {y}, "flat", {{"axis", std::int64_t{1}}});
    graph_.node("Gemm", {y, weight("head.weight"), weight("head.bias")}, "logits",
                {{"transB", std::int64_t{1}}});
    graph_.output("logits", {"batch", config_.num_classes});
  }

  RepLKNetConfig config_;
  std::map<std::string, Tensor> state_;
  OnnxGraph graph_;
  bool has_gelu_ = false;
};

}  // namespace

void export_onnx(const std::filesystem::path& path, RepLKNet& model, std::int64_t height, std::int64_t width,
                 const std::map<std::string, std::string>& metadata) {
  const auto axis = [](std::int64_t extent, const char* name) {
    return extent > 0 ? OnnxAxis(extent) : OnnxAxis(name);
  };
  Exporter(model).build(axis(height, "height"), axis(width, "width")).write(path, metadata);
}

}  // namespace replk
