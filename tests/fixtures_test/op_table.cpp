#include "tests/fixtures_test/op_table.h"

#include "ops/activations/activations.h"
#include "ops/add/add.h"
#include "ops/avg_pool2d/avg_pool2d.h"
#include "ops/batch_norm2d/batch_norm2d.h"
#include "ops/concat/concat.h"
#include "ops/conv2d/conv2d.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/depthwise_conv2d/depthwise_conv2d.h"
#include "ops/flatten/flatten.h"
#include "ops/interpolate_bilinear/interpolate_bilinear.h"
#include "ops/layer_norm_channels/layer_norm_channels.h"
#include "ops/linear/linear.h"
#include "ops/log_softmax/log_softmax.h"
#include "ops/matmul/matmul.h"
#include "ops/max_pool2d/max_pool2d.h"
#include "ops/reductions/reductions.h"
#include "ops/scale_channels/scale_channels.h"
#include "optim/adamw.h"
#include "optim/sgd.h"

namespace replk::test {
namespace {

// An attribute that has one value only in the layout of this framework.
void require_attr(const Call& call, const char* name, std::int64_t value) {
  const auto given = call.attr<std::int64_t>(name, value);
  check(given == value, "attribute ", name, " = ", value, " expected, got ", given, ".");
}

double elements(const Call& call, const std::string& x) {
  return static_cast<double>(call.tensor(x).numel());
}

// ---- convolutions

Results run_conv2d(const Call& call) {
  return {conv2d(call.in("x"), call.in("weight"), call.optional("bias"),
                 {.stride = call.extent_attr("stride", 1),
                  .padding = call.extent_attr("padding", 0),
                  .dilation = call.extent_attr("dilation", 1),
                  .groups = call.attr<std::int64_t>("groups", 1)})};
}

DepthwiseConv2dParams depthwise_params(const Call& call) {
  return {.stride = call.extent_attr("stride", 1),
          .padding = call.extent_attr("padding", 0),
          .dilation = call.extent_attr("dilation", 1)};
}

bool is_depthwise(const Call& call) {
  const auto groups = call.attr<std::int64_t>("groups", 1);
  return groups == call.tensor("x").size(0) && groups == call.tensor("weight").size(0);
}

Terms conv2d_terms(const Call& call) {
  const double kernel = call.extent("weight", 2) * call.extent("weight", 3);
  const double out_per_group = call.extent("weight", 0) / call.attr("groups", 1.0);
  const double columns = static_cast<double>(call.c.outputs.at("y").numel()) / call.extent("weight", 0);
  return {{"y", call.extent("weight", 1) * kernel},
          {"x", out_per_group * kernel},
          {"weight", columns},
          {"bias", columns}};
}

// By this kernel, where it applies.
OpWay depthwise_way(const char* label, DepthwiseKernel kernel) {
  const auto run = [kernel](const Call& call) {
    DepthwiseConv2dParams params = depthwise_params(call);
    params.kernel = kernel;
    return Results{depthwise_conv2d(call.in("x"), call.in("weight"), call.optional("bias"), params)};
  };
  const auto applies = [kernel](const Call& call) {
    return is_depthwise(call) && depthwise_kernel_applies(kernel, DepthwiseConv2dGeometry::of(
                                                                      call.tensor("x"), call.tensor("weight"),
                                                                      {}, depthwise_params(call)));
  };
  return {label, run, conv2d_terms, applies};
}

// ---- normalisation

Results run_batch_norm2d(const Call& call) {
  Tensor mean = call.tensor("running_mean").clone(), var = call.tensor("running_var").clone();
  const Variable y = batch_norm2d(call.in("x"), call.in("weight"), call.in("bias"), mean, var,
                                  {.training = call.attr("training", true),
                                   .momentum = call.attr("momentum", 0.1),
                                   .eps = call.attr("eps", 1e-5)});
  return {y, {{"running_mean", mean}, {"running_var", var}}};
}

Terms batch_norm2d_terms(const Call& call) {
  const double row = elements(call, "x") / call.extent("x", 0);
  return {{"y", row}, {"running_mean", row}, {"running_var", row},
          {"x", row}, {"weight", row},       {"bias", row}};
}

Results run_layer_norm(const Call& call) {
  return {layer_norm_channels(call.in("x"), call.in("weight"), call.in("bias"), call.attr("eps", 1e-6))};
}

Terms layer_norm_terms(const Call& call) {
  const double channels = call.extent("x", 0), row = elements(call, "x") / channels;
  return {{"y", channels}, {"x", channels}, {"weight", row}, {"bias", row}};
}

// ---- pooling and shapes

Pool2dParams pool_params(const Call& call) {
  return {.kernel_size = call.extent_attr("kernel_size", 0),
          .stride = call.extent_attr("stride", 0),
          .padding = call.extent_attr("padding", 0)};
}

Terms map_terms(const Call& call) {
  const double outputs = static_cast<double>(call.c.outputs.at("y").numel());
  return {{"y", call.extent("x", 2) * call.extent("x", 3)},
          {"x", outputs / (call.extent("x", 0) * call.extent("x", 1))}};
}

Results run_interpolate(const Call& call) {
  return {interpolate_bilinear(call.in("x"), {.size = call.extent_attr("size", 0),
                                              .align_corners = call.attr("align_corners", false)})};
}

Results run_concat(const Call& call) {
  const bool maps = call.inputs.begin()->second.data().rank() == 4;
  require_attr(call, "dim", maps ? 1 : 0);  // the channels, which are our outermost axis
  std::vector<Variable> inputs;
  for (const auto& [name, input] : call.inputs) inputs.push_back(input);
  return {concat(inputs)};
}

Results run_flatten(const Call& call) {
  require_attr(call, "start_dim", 1);
  return {flatten(call.in("x"))};
}

// ---- losses

Results run_log_softmax(const Call& call) {
  require_attr(call, "dim", 1);
  return {log_softmax(call.in("x"))};
}

Results run_cross_entropy(const Call& call) {
  return {cross_entropy(call.in("x"), call.tensor("target"),
                        {.label_smoothing = call.attr("label_smoothing", 0.0),
                         .ignore_index = call.attr<std::int64_t>("ignore_index", -100)})};
}

Terms all_terms(const Call& call) { return {{"y", elements(call, "x")}, {"x", elements(call, "x")}}; }

// ---- optimizers

// Input "param", gradients "grad0", "grad1", ... of the steps, outputs "param0", ... after each.
Results run_optimizer(const Call& call) {
  const auto kind = call.attr<std::string>("kind", "");
  Parameter parameter("param", call.tensor("param").clone());
  FlatParameters flat({{.name = "all",
                        .parameters = {&parameter},
                        .weight_decay = call.attr("weight_decay", kind == "adamw" ? 1e-2 : 0.0)}});
  std::unique_ptr<Optimizer> optimizer;
  if (kind == "sgd")
    optimizer = std::make_unique<Sgd>(flat, SgdParams{.lr = call.attr("lr", 1e-3),
                                                      .momentum = call.attr("momentum", 0.0),
                                                      .dampening = call.attr("dampening", 0.0),
                                                      .nesterov = call.attr("nesterov", false)});
  if (kind == "adamw")
    optimizer = std::make_unique<AdamW>(
        flat, AdamWParams{.lr = call.attr("lr", 1e-3),
                          .betas = call.attr("betas", std::array<double, 2>{0.9, 0.999}),
                          .eps = call.attr("eps", 1e-8)});
  check(optimizer != nullptr, "optimizer kind sgd or adamw expected, got \"", kind, "\".");
  Results results;
  for (int step = 0; call.inputs.contains("grad" + std::to_string(step)); ++step) {
    flat.zero_grad();
    parameter.grad_target().tensor.copy_from(call.tensor("grad" + std::to_string(step)));
    optimizer->step();
    results.others["param" + std::to_string(step)] = parameter.data.clone();
  }
  return results;
}

Terms optimizer_terms(const Call& call) {
  Terms terms;  // every step rounds once more
  for (const auto& [name, output] : call.c.outputs) terms[name] = static_cast<double>(call.c.outputs.size());
  return terms;
}

Results run_clip_grad_norm(const Call& call) {
  std::vector<std::unique_ptr<Parameter>> parameters;
  ParameterGroup group{.name = "all", .parameters = {}};
  for (const auto& [name, gradient] : call.inputs) {
    parameters.push_back(
        std::make_unique<Parameter>(name, Tensor::zeros(gradient.shape(), gradient.data().dtype())));
    group.parameters.push_back(parameters.back().get());
  }
  FlatParameters flat({group});
  flat.zero_grad();
  for (const auto& parameter : parameters)
    parameter->grad_target().tensor.copy_from(call.tensor(parameter->name));
  const double norm = flat.clip_grad_norm(call.c.attrs.at("max_norm")).item();
  Results results;
  results.others["total_norm"] = Tensor::full({}, norm, flat.gradients().dtype());
  for (const auto& parameter : parameters) results.others[parameter->name] = parameter->grad.clone();
  return results;
}

}  // namespace

const Variable& Call::in(const std::string& name) const {
  const auto found = inputs.find(name);
  check(found != inputs.end(), "an input \"", name, "\" expected.");
  return found->second;
}

Variable Call::optional(const std::string& name) const {
  return inputs.contains(name) ? inputs.at(name) : Variable();
}

Extent2d Call::extent_attr(const char* name, Extent2d otherwise) const {
  if (!c.attrs.contains(name) || c.attrs.at(name).is_null()) return otherwise;
  const nlohmann::json& value = c.attrs.at(name);
  if (value.is_number()) return value.get<std::int64_t>();
  return {value.at(0).get<std::int64_t>(), value.at(1).get<std::int64_t>()};
}

const std::multimap<std::string, OpWay>& op_table() {
  static const std::multimap<std::string, OpWay> table = {
      {"conv2d", {"conv2d", run_conv2d, conv2d_terms}},
      {"conv2d", depthwise_way("depthwise_conv2d", DepthwiseKernel::automatic)},
      {"conv2d", depthwise_way("depthwise_conv2d naive", DepthwiseKernel::naive)},
      {"conv2d", depthwise_way("depthwise_conv2d direct", DepthwiseKernel::direct)},
      {"conv2d", depthwise_way("depthwise_conv2d rows", DepthwiseKernel::rows)},
      {"conv2d", depthwise_way("depthwise_conv2d fft", DepthwiseKernel::fft)},
      {"batch_norm2d", {"batch_norm2d", run_batch_norm2d, batch_norm2d_terms}},
      {"layer_norm_channels", {"layer_norm_channels", run_layer_norm, layer_norm_terms}},
      {"relu", {"relu", [](const Call& call) { return Results{relu(call.in("x"))}; }}},
      {"relu6", {"relu6", [](const Call& call) { return Results{relu6(call.in("x"))}; }}},
      {"gelu", {"gelu", [](const Call& call) { return Results{gelu(call.in("x"))}; }}},
      {"sigmoid", {"sigmoid", [](const Call& call) { return Results{sigmoid(call.in("x"))}; }}},
      {"add", {"add", [](const Call& call) { return Results{add(call.in("a"), call.in("b"))}; }}},
      {"scale_channels",
       {"scale_channels",
        [](const Call& call) { return Results{scale_channels(call.in("x"), call.in("scale"))}; },
        [](const Call& call) {
          return Terms{{"scale", elements(call, "x") / call.extent("x", 0)}};
        }}},
      {"linear",
       {"linear",
        [](const Call& call) {
          return Results{linear(call.in("x"), call.in("weight"), call.optional("bias"))};
        },
        [](const Call& call) {
          return Terms{{"y", call.extent("x", 1)},
                       {"x", call.extent("weight", 0)},
                       {"weight", call.extent("x", 0)},
                       {"bias", call.extent("x", 0)}};
        }}},
      {"matmul",
       {"matmul", [](const Call& call) { return Results{matmul(call.in("a"), call.in("b"))}; },
        [](const Call& call) {
          return Terms{{"y", call.extent("a", 1)}, {"a", call.extent("b", 1)}, {"b", call.extent("a", 0)}};
        }}},
      {"adaptive_avg_pool2d",
       {"adaptive_avg_pool2d",
        [](const Call& call) {
          return Results{adaptive_avg_pool2d(call.in("x"), call.extent_attr("output_size", 0))};
        },
        map_terms}},
      {"avg_pool2d",
       {"avg_pool2d", [](const Call& call) { return Results{avg_pool2d(call.in("x"), pool_params(call))}; },
        map_terms}},
      {"max_pool2d",
       {"max_pool2d", [](const Call& call) { return Results{max_pool2d(call.in("x"), pool_params(call))}; },
        map_terms}},
      {"interpolate_bilinear", {"interpolate_bilinear", run_interpolate, map_terms}},
      {"concat", {"concat", run_concat}},
      {"flatten", {"flatten", run_flatten}},
      {"sum", {"sum", [](const Call& call) { return Results{sum(call.in("x"))}; }, all_terms}},
      {"mean", {"mean", [](const Call& call) { return Results{mean(call.in("x"))}; }, all_terms}},
      {"log_softmax", {"log_softmax", run_log_softmax, all_terms}},
      {"cross_entropy", {"cross_entropy", run_cross_entropy, all_terms}},
      {"cross_entropy_2d", {"cross_entropy", run_cross_entropy, all_terms}},
      {"cross_entropy_soft",
       {"cross_entropy_soft",
        [](const Call& call) { return Results{cross_entropy_soft(call.in("x"), call.tensor("target"))}; },
        all_terms}},
      {"optimizer", {"optimizer", run_optimizer, optimizer_terms}},
      {"clip_grad_norm", {"clip_grad_norm", run_clip_grad_norm}},
  };
  return table;
}

}  // namespace replk::test
