#include "models/replknet.h"

#include <set>

#include "models/config.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

namespace {

RepLKNetConfig small_config() {
  return {.large_kernel_sizes = {7, 5},
          .layers = {1, 2},
          .channels = {6, 8},
          .drop_path_rate = 0.2,
          .small_kernel = 3,
          .in_channels = 1,
          .num_classes = 4,
          .stem_strides = {2, 1}};
}

Tensor image(std::int64_t channels = 1, std::int64_t batch = 2, std::int64_t size = 12) {
  return random_tensor({channels, batch, size, size}, 5, -1, 1, DType::f32);
}

}  // namespace

TEST_CASE("models/presets/parameter_counts") {
  // Paper tables 5 and 9: 79 M and 172 M for 31B and 31L, 335 M for XL, with their 1000-class heads, merged
  // for inference.
  struct Expected {
    std::string name;
    double millions, tolerance;
  };
  for (const auto& [name, millions, tolerance] :
       {Expected{"replknet-31b", 79.5, 0.5}, Expected{"replknet-31l", 172.5, 0.5},
        Expected{"replknet-xl", 335.5, 0.5}, Expected{"replknet-nano", 0.1, 0.02},
        Expected{"replknet-tiny", 0.3, 0.03}, Expected{"replknet-small", 1.0, 0.12}}) {
    RepLKNet net(preset(name));
    INFO(name << " has " << net.parameter_count());
    CHECK(std::abs(static_cast<double>(net.parameter_count()) / 1e6 - millions) <= tolerance);
  }
}

TEST_CASE("models/presets/every_preset_is_valid") {
  for (const std::string& name : preset_names()) {
    INFO(name);
    CHECK_NOTHROW(validate(preset(name)));
    CHECK(config_from_json(to_json(preset(name))) == preset(name));
  }
  check_error([] { preset("replknet-tyni"); }, {"'replknet-tyni'", "replknet-tiny"});
}

TEST_CASE("models/config/errors") {
  check_error([] { config_from_json(R"({"chanels": [1]})"); }, {"chanels", "channels"});
  check_error([] { config_from_json(R"({"layers": "two"})"); }, {"layers", "two"});
  check_error([] { config_from_json("[1"); }, {"JSON object"});
  RepLKNetConfig config = small_config();
  config.layers = {1};
  check_error([&] { RepLKNet net(config); }, {"one entry per stage"});
  config = small_config();
  config.large_kernel_sizes[0] = 6;
  check_error([&] { RepLKNet net(config); }, {"odd", "6"});
  config = small_config();
  config.small_kernel = 9;
  check_error([&] { RepLKNet net(config); }, {"small_kernel 9", "stage 0"});
}

TEST_CASE("models/replknet/names_are_the_published_ones") {
  RepLKNet net(small_config());
  std::set<std::string> names;
  for (const NamedTensor& entry : net.state()) CHECK(names.insert(entry.name).second);
  for (const char* name :
       {"stem.0.conv.weight", "stem.3.bn.running_var", "stages.0.blocks.0.prelkb_bn.weight",
        "stages.0.blocks.0.pw1.conv.weight", "stages.1.blocks.2.large_kernel.lkb_origin.conv.weight",
        "stages.1.blocks.2.large_kernel.small_conv.bn.num_batches_tracked",
        "stages.1.blocks.3.preffn_bn.bias", "transitions.0.1.conv.weight", "norm.running_mean", "head.weight",
        "head.bias"})
    CHECK(names.contains(name));
}

TEST_CASE("models/replknet/drop_path_rises_linearly") {
  RepLKNetConfig config = small_config();
  config.layers = {2, 3};
  RepLKNet net(config);
  std::vector<double> rates;
  net.visit([&](Module& module) {
    if (const auto* drop = dynamic_cast<DropPath*>(&module)) rates.push_back(drop->probability());
  });
  // Both blocks of a pair share a rate: 0, 0, .05, .05, .1, .1, .15, .15, .2, .2
  REQUIRE(rates.size() == 10);
  for (std::size_t i = 0; i < rates.size(); ++i)
    CHECK(rates[i] == Approx(0.05 * static_cast<double>(i / 2)).margin(1e-12));
}

TEST_CASE("models/replknet/same_seed_same_network") {
  RepLKNet a(small_config(), 7), b(small_config(), 7), c(small_config(), 8);
  CHECK(a.state()[0].tensor.to_vector() == b.state()[0].tensor.to_vector());
  CHECK(a.state()[0].tensor.to_vector() != c.state()[0].tensor.to_vector());
}

TEST_CASE("models/replknet/drop_path_follows_the_step") {
  RepLKNetConfig config = small_config();
  config.drop_path_rate = 0.5;
  RepLKNet net(config);
  const auto outputs = [&](std::uint64_t step) {
    net.set_step(1, step);
    return net(image(1, 8)).data().to_vector();
  };
  const Values first = outputs(1);
  CHECK(first == outputs(1));
  CHECK(first != outputs(2));
}

TEST_CASE("models/replknet/a shortcut adds the input") {
  const Tensor x = random_tensor({4, 2, 6, 6}, 9, -1, 1, DType::f32);
  const auto check_block = [&](Module& with, Module& without) {
    for (Module* module : {&with, &without}) {
      for (Parameter* parameter : module->parameters())
        parameter->data.copy_from(random_tensor(parameter->data.shape(), 3, -1, 1, DType::f32));
      module->eval();
    }
    const std::vector<double> sum = with(x).data().to_vector(), y = without(x).data().to_vector(),
                              input = x.to_vector();
    for (std::size_t i = 0; i < y.size(); ++i) CHECK(sum[i] == Approx(y[i] + input[i]).margin(1e-6));
  };
  RepLKBlock block(4, 8, 5, 3, {.drop_path = 0.1}), plain(4, 8, 5, 3, {.drop_path = 0.1, .shortcut = false});
  check_block(block, plain);
  ConvFFN ffn(4, 8, {}), plain_ffn(4, 8, {.shortcut = false});
  check_block(ffn, plain_ffn);
  RepLKNetConfig config = small_config();
  config.shortcut = false;
  CHECK(RepLKNet(config)(image()).data().to_vector() != RepLKNet(small_config())(image()).data().to_vector());
}

TEST_CASE("models/replknet/folding_keeps_the_outputs_and_refuses_another_models_weights") {
  RepLKNet net(small_config());
  for (int i = 0; i < 3; ++i) net(image());  // moves the running statistics
  net.eval();
  const Values before = net(image()).data().to_vector();
  std::map<std::string, Tensor> weights;
  for (const NamedTensor& entry : net.state()) weights[entry.name] = entry.tensor.clone();
  net.structural_reparam();
  CHECK(max_difference(net(image()).data().to_vector(), before) <= 1e-5 * max_magnitude(before));
  net.fold_batch_norm();
  CHECK(max_difference(net(image()).data().to_vector(), before) <= 1e-5 * max_magnitude(before));
  check_error([&] { net.load_state_strictly(weights, "file.safetensors"); },
              {"file.safetensors", "another model", "Missing", "stem.0.conv.bias", "Unexpected", "norm.bias",
               "more"});
}

TEST_CASE("models/replknet/overfits_a_batch_of_noise") {
  RepLKNetConfig config = small_config();
  config.drop_path_rate = 0;
  RepLKNet net(config);
  const Tensor x = image(1, 6), labels = Tensor::of(std::vector<std::int64_t>{0, 1, 2, 3, 0, 1}, {6});
  double loss_value = 0;
  for (int step = 0; step < 600; ++step) {
    for (Parameter* p : net.parameters()) p->grad_ready = false;
    Tape tape;
    const Variable loss = cross_entropy(net(x), labels);
    loss_value = loss.data().item();
    tape.backward(loss);
    for (Parameter* p : net.parameters())
      for (std::int64_t i = 0; i < p->data.numel(); ++i)
        p->data.data<float>()[i] -= 0.05f * p->grad.data<float>()[i];
  }
  CHECK(loss_value < 0.01);
}

TEST_CASE("models/replknet/errors") {
  RepLKNet net(small_config());
  check_error([&] { net(image(3)); }, {"RepLKNet", "(1, N, H, W)", "(3, 2, 12, 12)"});
}
