#include "optim/ema.h"

#include "tests/optim/parameters.h"
#include "tests/support/catch.h"

using namespace replk;
using namespace replk::test;

TEST_CASE("optim/ema/by_definition") {
  for (const DType dtype : {DType::f64, DType::f32}) {
    Parameters parameters(dtype);
    FlatParameters flat({{.name = "all", .parameters = parameters.all}});
    Ema ema(flat, 0.9);
    std::vector<Values> average = parameters.values();
    for (int step = 1; step <= 4; ++step) {
      for (Parameter* p : parameters.all)
        p->data.copy_from(random_tensor(p->data.shape(), 50 * step, -1, 1, dtype));
      ema.update();
      const auto weights = parameters.values();
      for (std::size_t i = 0; i < average.size(); ++i) {
        for (std::size_t j = 0; j < average[i].size(); ++j)
          average[i][j] = 0.9 * average[i][j] + 0.1 * weights[i][j];
        const auto got = ema.state().at("ema." + parameters.all[i]->name).to_vector();
        CHECK(max_difference(got, average[i]) <= (dtype == DType::f64 ? 1e-15 : 3e-7));
      }
    }
  }
}

TEST_CASE("optim/ema/weights_that_rest_are_their_average") {
  Parameters parameters(DType::f32);
  FlatParameters flat({{.name = "all", .parameters = parameters.all}});
  Ema ema(flat, 0.999);
  for (int step = 0; step < 5; ++step) ema.update();
  for (const Parameter* p : parameters.all) CHECK(same_bits(ema.state().at("ema." + p->name), p->data));
}

TEST_CASE("optim/ema/swap") {
  Parameters parameters(DType::f32);
  FlatParameters flat({{.name = "all", .parameters = parameters.all}});
  Ema ema(flat, 0.5);
  Parameter& scale = parameters["head.scale"];
  const double before = scale.data.item();
  scale.data.fill(3);
  ema.swap();
  CHECK(scale.data.item() == before);
  CHECK(ema.state().at("ema.head.scale").item() == 3);
  ema.swap();
  CHECK(scale.data.item() == 3);
}

TEST_CASE("optim/ema/buffers_are_averaged_beside_the_weights") {
  Parameters parameters(DType::f32);
  FlatParameters flat({{.name = "all", .parameters = parameters.all}});
  Tensor mean = Tensor::full({3}, 1), variance = Tensor::full({2}, 4);
  Ema ema(flat, 0.75, {{"bn.running_mean", mean}, {"bn.running_var", variance}});
  const auto average = [&] { return ema.state().at("ema.bn.running_mean").to_vector()[2]; };
  mean.fill(2);
  ema.update();
  CHECK(average() == 1.25);
  ema.update();
  CHECK(average() == 1.4375);
  const double weight = parameters["head.scale"].data.item();
  ema.swap();
  CHECK(mean.to_vector()[0] == 1.4375);
  CHECK(variance.to_vector()[0] == 4);
  CHECK(average() == 2);
  CHECK(parameters["head.scale"].data.item() == weight);
  ema.swap();
  CHECK(mean.to_vector()[0] == 2);

  const auto state = ema.state();
  Ema other(flat, 0.75, {{"bn.running_mean", mean}, {"bn.running_var", variance}});
  other.load_state(state);
  for (const auto& [name, tensor] : other.state()) CHECK(same_bits(tensor, state.at(name)));
  auto bad = state;
  bad.erase("ema.bn.running_var");
  check_error([&] { other.load_state(bad); }, {"ema.bn.running_var", "missing"});
  bad["ema.bn.running_var"] = Tensor::zeros({5});
  check_error([&] { other.load_state(bad); }, {"ema.bn.running_var", "(2)", "(5)"});
  check_error([&] { Ema(flat, 0.5, {{"count", Tensor::zeros({}, DType::i64)}}); }, {"ema", "count", "i64"});
}

TEST_CASE("optim/ema/state_round_trip") {
  Parameters parameters(DType::f32);
  FlatParameters flat({{.name = "all", .parameters = parameters.all}});
  Ema ema(flat, 0.9);
  for (Parameter* p : parameters.all) p->data.fill(0.3);
  ema.update();
  const auto state = ema.state();
  CHECK(state.size() == parameters.all.size());
  Ema other(flat, 0.9);
  other.load_state(state);
  for (const auto& [name, tensor] : other.state()) CHECK(same_bits(tensor, state.at(name)));
  auto bad = state;
  bad.erase("ema.stem.bias");
  check_error([&] { other.load_state(bad); }, {"ema", "ema.stem.bias", "missing"});
}

TEST_CASE("optim/ema/errors") {
  Parameters parameters;
  FlatParameters flat({{.name = "all", .parameters = parameters.all}});
  check_error([&] { Ema(flat, 1); }, {"ema", "decay", "[0, 1)"});
  check_error([&] { Ema(flat, -0.1); }, {"ema", "decay", "-0.1"});
}
