// Whole networks from the published PyTorch model: every replknet*.safetensors in REPLK_FIXTURE_DIR holds
// weights under their PyTorch names, inputs, and what PyTorch computed from them in float64.
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "io/safetensors.h"
#include "models/replknet.h"
#include "ops/activations/activations.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/depthwise_conv2d/depthwise_conv2d.h"
#include "ops/primitives/elementwise.h"
#include "optim/adamw.h"
#include "optim/flat_parameters.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"
#include "tests/support/layout.h"

using namespace replk;
using namespace replk::test;

namespace {

struct Network {
  Safetensors file;
  RepLKNetConfig config;
  DType dtype;

  std::map<std::string, Tensor> part(const std::string& prefix) const {
    std::map<std::string, Tensor> tensors;
    for (const auto& [name, tensor] : file.tensors)
      if (name.starts_with(prefix)) tensors[name.substr(prefix.size())] = tensor;
    return tensors;
  }
  Tensor input() const { return cast(to_cnhw(file.tensors.at("ref.input")), dtype); }
  std::unique_ptr<RepLKNet> model() const {
    auto net = std::make_unique<RepLKNet>(config);
    net->to(dtype);
    net->load_state_strictly(part("model."), "fixture");
    net->eval();
    return net;
  }
};

std::filesystem::path fixture_dir() {
  const char* folder = std::getenv("REPLK_FIXTURE_DIR");
  return folder ? folder : "tests/fixtures";
}

// Calls f for every network file, in f64 and in f32.
template <class F>
void for_networks(const F& f) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(fixture_dir())) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("replknet") || !name.ends_with(".safetensors")) continue;
    const Safetensors file = read_safetensors(entry.path());
    const auto described = nlohmann::json::parse(file.metadata.at("config"));
    for (const DType dtype : {DType::f64, DType::f32}) {
      INFO(name << " in " << dtype);
      f(Network{file, config_from_json(described.at("kw").dump()), dtype});
    }
    ++count;
  }
  if (count == 0 && std::getenv("REPLK_FIXTURE_DIR")) {
    WARN("no replknet*.safetensors in " << fixture_dir() << ": nothing compared here");
    return;
  }
  INFO("no replknet*.safetensors in " << fixture_dir());
  REQUIRE(count > 0);
}

// The f64 path must match to 1e-6 of the largest value (the references themselves are rounded to f32). In f32
// every one of the ~60 layers rounds its inputs and sums up to ~200 products; errors of a layer grow like
// sqrt(200) eps and those of the layers add up: 60 * 14 eps is about 1e-4. `amplified` is for what a training
// step multiplies further.
double bound(const Network& network, double amplified = 1) {
  return network.dtype == DType::f64 ? 1e-6 : amplified * 60 * 14 * std::numeric_limits<float>::epsilon();
}

void check_close(const std::string& what, const Tensor& got, const Tensor& expected, double bound,
                 double smallest_scale = 1e-12) {
  INFO(what);
  REQUIRE(got.numel() == expected.numel());
  const Values reference = expected.to_vector();
  CHECK(max_difference(got.to_vector(), reference) <= bound * max_magnitude(reference, smallest_scale));
}

std::vector<Variable> outputs_of(RepLKNet& net, const Tensor& input) {
  if (net.config().out_indices.empty()) return {net(input)};
  return net.forward_outputs(input);
}

void check_outputs(const Network& network, RepLKNet& net, const std::string& prefix) {
  const std::vector<Variable> outputs = outputs_of(net, network.input());
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const std::string key = prefix + std::to_string(i);
    const Tensor& y = outputs[i].data();
    check_close(key, y.rank() == 4 ? to_nchw(y) : y, network.file.tensors.at(key), bound(network));
  }
}

// Calls f() with each kernel of depth-wise convolutions in turn, wherever it applies.
template <class F>
void for_each_depthwise_kernel(const F& f) {
  struct Restore {
    ~Restore() { set_default_depthwise_kernel(DepthwiseKernel::automatic); }
  } restore;
  for (const DepthwiseKernel kernel :
       {DepthwiseKernel::automatic, DepthwiseKernel::naive, DepthwiseKernel::direct, DepthwiseKernel::rows,
        DepthwiseKernel::fft}) {
    INFO("depth-wise kernel " << name_of(kernel));
    set_default_depthwise_kernel(kernel);
    f();
  }
}

Variable loss_of(RepLKNet& net, const Network& network) {
  return cross_entropy(net(network.input()), network.file.tensors.at("ref.target"), {.label_smoothing = 0.1});
}

std::map<std::string, Tensor> state_map(RepLKNet& net) {
  std::map<std::string, Tensor> state;
  for (const NamedTensor& entry : net.state()) state[entry.name] = entry.tensor;
  return state;
}

void check_gradients(const Network& network, RepLKNet& net) {
  const auto grads = network.part("ref.train.grad.");
  CHECK(grads.size() == net.parameters().size());
  // A shift whose every way to the loss leads through a batch norm has gradient 0: both sides hold
  // rounding there.
  double largest = 0;
  for (const auto& [name, grad] : grads) largest = max_magnitude(grad.to_vector(), largest);
  for (Parameter* parameter : net.parameters()) {
    REQUIRE(grads.contains(parameter->name));
    REQUIRE(parameter->grad_ready);
    check_close("gradient of " + parameter->name, parameter->grad, grads.at(parameter->name),
                bound(network, 10), 1e-3 * largest);
  }
}

// Losses, the first step's gradients and the weights after the last.
void check_training(const Network& network) {
  const auto& refs = network.file.tensors;
  const auto net = network.model();
  net->train();
  FlatParameters flat({{.name = "all", .parameters = net->parameters(), .weight_decay = 0.05}});
  AdamW optimizer(flat, {.lr = 1e-3});
  const Values losses = refs.at("ref.train.losses").to_vector();
  for (std::size_t step = 0; step < losses.size(); ++step) {
    INFO("step " << step);
    flat.zero_grad();
    Tape tape;
    const Variable logits = (*net)(network.input());
    if (step == 0) check_close("train.out", logits.data(), refs.at("ref.train.out"), bound(network));
    const Variable loss = cross_entropy(logits, refs.at("ref.target"), {.label_smoothing = 0.1});
    CHECK(std::abs(loss.data().item() - losses[step]) <= bound(network, 10) * std::abs(losses[step]));
    tape.backward(loss);
    if (step == 0) check_gradients(network, *net);
    optimizer.step();
  }
  const auto state = state_map(*net);
  for (const auto& [name, tensor] : network.part("ref.train.after3.")) {
    REQUIRE(state.contains(name));
    check_close(name + " after 3 steps", state.at(name), tensor, bound(network, 10));
  }
}

}  // namespace

TEST_CASE("fixtures/networks/eval") {
  for_networks([](const Network& network) {
    const auto net = network.model();
    for_each_depthwise_kernel([&] { check_outputs(network, *net, "ref.eval.out"); });
    if (network.file.tensors.contains("ref.features"))
      check_close("features", to_nchw(net->forward_features(network.input()).data()),
                  network.file.tensors.at("ref.features"), bound(network));
  });
}

TEST_CASE("fixtures/networks/reparam") {
  for_networks([](const Network& network) {
    const auto net = network.model();
    net->structural_reparam();
    const auto merged = state_map(*net);
    int weights = 0;
    for (const auto& [name, tensor] : network.part("ref.reparam."))
      if (name.find("lkb_reparam") != std::string::npos) {
        REQUIRE(merged.contains(name));
        check_close(name, merged.at(name), tensor, bound(network));
        ++weights;
      }
    CHECK(weights > 0);
    check_outputs(network, *net, "ref.reparam.out");

    // A merged model's weights fit a model built merged.
    RepLKNet again(net->config());
    again.to(network.dtype);
    again.load_state_strictly(merged, "merged");
    again.eval();
    CHECK(max_difference(outputs_of(again, network.input())[0].data().to_vector(),
                         outputs_of(*net, network.input())[0].data().to_vector()) == 0);
  });
}

TEST_CASE("fixtures/networks/fold_batch_norm") {
  for_networks([](const Network& network) {
    const auto net = network.model();
    net->fold_batch_norm();
    check_outputs(network, *net, "ref.eval.out");
    int norms = 0;
    for (const NamedTensor& entry : net->state()) norms += entry.name.ends_with("running_mean");
    CHECK(norms ==
          static_cast<int>(network.config.norm_intermediate_features ? network.config.channels.size() : 0));

    RepLKNet again(net->config());
    again.to(network.dtype);
    again.load_state_strictly(state_map(*net), "folded");
    again.eval();
    check_outputs(network, again, "ref.eval.out");
  });
}

TEST_CASE("fixtures/networks/training") {
  int trained = 0;
  for_networks([&](const Network& network) {
    if (!network.file.tensors.contains("ref.train.losses")) return;
    ++trained;
    for_each_depthwise_kernel([&] { check_training(network); });
  });
  if (!std::getenv("REPLK_FIXTURE_DIR")) REQUIRE(trained > 0);
}

TEST_CASE("fixtures/networks/receptive_field") {
  int maps = 0;
  for_networks([&](const Network& network) {
    const auto& refs = network.file.tensors;
    if (!refs.contains("ref.erf.map")) return;
    ++maps;
    const auto net = network.model();
    Tape tape;
    const Variable input = tape.watch(network.input());
    const Variable features = relu(net->forward_features(input));
    // d (sum over batch and channels of the centre) / d features
    Tensor dy = Tensor::zeros(features.shape(), network.dtype);
    const std::int64_t h = features.shape()[2], w = features.shape()[3];
    for (std::int64_t plane = 0; plane < features.shape()[0] * features.shape()[1]; ++plane) {
      const std::int64_t centre = plane * h * w + h / 2 * w + w / 2;
      dy.view({dy.numel()}).slice(centre, centre + 1).fill(1);
    }
    tape.backward(features, dy);
    const Tensor dx = tape.gradient(input);
    const Values gradient = dx.to_vector();
    const Values expected = refs.at("ref.erf.map").to_vector();
    Values map(expected.size(), 0.0);
    for (std::size_t i = 0; i < gradient.size(); ++i) map[i % map.size()] += std::max(gradient[i], 0.0);
    CHECK(max_difference(map, expected) <= bound(network, 10) * max_magnitude(expected));
  });
  if (!std::getenv("REPLK_FIXTURE_DIR")) REQUIRE(maps > 0);
}

TEST_CASE("fixtures/networks/checkpoint") {
  for_networks([](const Network& network) {
    if (!network.file.tensors.contains("ref.target")) return;
    Network checkpointed = network;
    checkpointed.config.use_checkpoint = true;
    const auto plain = network.model(), saving = checkpointed.model();
    std::size_t sizes[2];
    for (int i = 0; i < 2; ++i) {
      RepLKNet& net = i ? *saving : *plain;
      net.train();
      Tape tape;
      const Variable loss = loss_of(net, network);
      sizes[i] = tape.size();
      tape.backward(loss);
    }
    CHECK(sizes[1] < sizes[0]);
    const auto a = plain->parameters(), b = saving->parameters();
    for (std::size_t i = 0; i < a.size(); ++i) {
      INFO(a[i]->name);
      CHECK(a[i]->grad.to_vector() == b[i]->grad.to_vector());
    }
    // Running statistics moved once, although forward ran twice.
    const auto after = state_map(*plain), after_saving = state_map(*saving);
    for (const auto& [name, tensor] : after) CHECK(after_saving.at(name).to_vector() == tensor.to_vector());
  });
}
