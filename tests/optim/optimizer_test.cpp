// SGD and AdamW against loops written from the formulas, one weight at a time, in double.
#include <cmath>
#include <functional>
#include <limits>
#include <memory>

#include "core/parallel.h"
#include "optim/adamw.h"
#include "optim/sgd.h"
#include "tests/optim/parameters.h"
#include "tests/support/catch.h"

using namespace replk;
using namespace replk::test;

namespace {

/// One weight: its value and what the optimizer remembers of it.
struct Weight {
  double p, a = 0, b = 0;
};
/// (weight, gradient, learning rate, weight decay, step from 1)
using Rule = std::function<void(Weight&, double, double, double, int)>;
using Make = std::function<std::unique_ptr<Optimizer>(FlatParameters&)>;

Rule sgd_rule(SgdParams s) {
  return [s](Weight& w, double g, double lr, double decay, int step) {
    g = g + decay * w.p;
    if (s.momentum > 0) {
      w.a = step == 1 ? g : s.momentum * w.a + (1 - s.dampening) * g;
      g = s.nesterov ? g + s.momentum * w.a : w.a;
    }
    w.p = w.p - lr * g;
  };
}

Rule adamw_rule(AdamWParams s) {
  return [s](Weight& w, double g, double lr, double decay, int step) {
    w.p = w.p * (1 - lr * decay);
    w.a = s.betas[0] * w.a + (1 - s.betas[0]) * g;
    w.b = s.betas[1] * w.b + (1 - s.betas[1]) * g * g;
    const double m = w.a / (1 - std::pow(s.betas[0], step)), v = w.b / (1 - std::pow(s.betas[1], step));
    w.p = w.p - lr * m / (std::sqrt(v) + s.eps);
  };
}

Make sgd(SgdParams s) {
  return [s](FlatParameters& flat) { return std::make_unique<Sgd>(flat, s); };
}
Make adamw(AdamWParams s) {
  return [s](FlatParameters& flat) { return std::make_unique<AdamW>(flat, s); };
}

std::vector<ParameterGroup> two_groups(Parameters& p) {
  return {{.name = "a", .parameters = {p.all[0], p.all[3]}, .lr_scale = 0.5, .weight_decay = 0.1},
          {.name = "b", .parameters = {p.all[1], p.all[2]}}};
}

/// Six steps of changing learning rate, two groups; one parameter frozen all along, one unused in step 3.
void compare(const Make& make, const Rule& rule, double lr) {
  for (const DType dtype : {DType::f64, DType::f32}) {
    Parameters parameters(dtype);
    parameters.add("frozen", random_tensor({5}, 99, -1, 1, dtype));
    auto groups = two_groups(parameters);
    groups[0].parameters.push_back(&parameters["frozen"]);
    parameters["frozen"].trainable = false;
    std::vector<std::vector<Weight>> expected;
    for (const Values& values : parameters.values()) {
      expected.emplace_back();
      for (const double p : values) expected.back().push_back({p});
    }
    const Values frozen = parameters["frozen"].data.to_vector();
    FlatParameters flat(groups);
    const auto optimizer = make(flat);
    CHECK(optimizer->learning_rate() == lr);
    for (int step = 1; step <= 6; ++step) {
      optimizer->set_learning_rate(lr / step);
      flat.zero_grad();
      parameters.give_gradients(100 * step);
      if (step == 3) parameters["head.weight"].grad_ready = false;
      for (std::size_t i = 0; i < 4; ++i) {
        const bool first_group = i == 0 || i == 3;
        const bool used = parameters.all[i]->grad_ready;
        const Values g = parameters.all[i]->grad.to_vector();
        for (std::size_t j = 0; j < g.size(); ++j)
          rule(expected[i][j], used ? g[j] : 0, lr / step * (first_group ? 0.5 : 1), first_group ? 0.1 : 0,
               step);
      }
      optimizer->step();
      CHECK(optimizer->steps() == step);
      const auto values = parameters.values();
      for (std::size_t i = 0; i < 4; ++i) {
        Values wanted;
        for (const Weight& w : expected[i]) wanted.push_back(w.p);
        INFO(dtype << " " << parameters.all[i]->name << " step " << step);
        CHECK(max_difference(values[i], wanted) <=
              (dtype == DType::f64 ? 1e-14 : 4e-7) * step * max_magnitude(wanted, 1));
      }
    }
    CHECK(parameters["frozen"].data.to_vector() == frozen);
  }
}

void check_round_trip(const Make& make) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    Parameters one(dtype), two(dtype);
    FlatParameters flat_one(two_groups(one)), flat_two(two_groups(two));
    const auto first = make(flat_one), second = make(flat_two);
    const auto train = [](Parameters& p, FlatParameters& flat, Optimizer& optimizer, int from, int to) {
      for (int step = from; step < to; ++step) {
        flat.zero_grad();
        p.give_gradients(100 * step);
        optimizer.step();
      }
    };
    train(one, flat_one, *first, 0, 3);
    const auto state = first->state();
    const Tensor weights = flat_one.data().clone();
    train(one, flat_one, *first, 3, 6);  // the copies in `state` must not follow
    flat_two.data().view(weights.shape()).copy_from(weights);
    second->load_state(state);
    CHECK(second->steps() == 3);
    for (const auto& [name, tensor] : second->state()) CHECK(same_bits(tensor, state.at(name)));
    train(two, flat_two, *second, 3, 6);
    CHECK(same_bits(flat_one.data(), flat_two.data()));
  }
}

void check_threads(const Make& make) {
  const int threads = num_threads();
  std::vector<Tensor> results;
  for (const int n : {1, 2, 3, 7}) {
    set_num_threads(n);
    Parameters parameters(DType::f32);
    FlatParameters flat(two_groups(parameters));
    const auto optimizer = make(flat);
    for (int step = 0; step < 3; ++step) {
      flat.zero_grad();
      parameters.give_gradients(step);
      optimizer->step();
    }
    results.push_back(flat.data().clone());
  }
  set_num_threads(threads);
  for (const Tensor& result : results) CHECK(same_bits(result, results[0]));
}

const std::vector<SgdParams> kSgd = {{.lr = 0.1},
                                     {.lr = 0.1, .momentum = 0.9},
                                     {.lr = 0.1, .momentum = 0.9, .dampening = 0.3},
                                     {.lr = 0.1, .momentum = 0.8, .nesterov = true}};
const std::vector<AdamWParams> kAdamW = {{.lr = 4e-3},
                                         {.lr = 1e-2, .betas = {0.8, 0.95}, .eps = 1e-3},
                                         {.lr = 1e-2, .betas = {0, 0}, .eps = 1e-2}};

}  // namespace

TEST_CASE("optim/sgd/by_definition") {
  for (const SgdParams& s : kSgd) compare(sgd(s), sgd_rule(s), s.lr);
}

TEST_CASE("optim/adamw/by_definition") {
  for (const AdamWParams& s : kAdamW) compare(adamw(s), adamw_rule(s), s.lr);
}

TEST_CASE("optim/sgd/state_continues_with_the_same_bits") {
  for (const SgdParams& s : kSgd) check_round_trip(sgd(s));
}

TEST_CASE("optim/adamw/state_continues_with_the_same_bits") {
  for (const AdamWParams& s : kAdamW) check_round_trip(adamw(s));
}

TEST_CASE("optim/optimizer/same_bits_for_any_number_of_threads") {
  for (const SgdParams& s : kSgd) check_threads(sgd(s));
  check_threads(adamw(kAdamW[0]));
}

TEST_CASE("optim/optimizer/state_names") {
  Parameters parameters(DType::f32);
  FlatParameters flat({{.name = "all", .parameters = parameters.all}});
  const auto adamw_state = AdamW(flat, {}).state();
  CHECK(adamw_state.size() == 9);
  CHECK(adamw_state.at("step").dtype() == DType::i64);
  CHECK(adamw_state.at("exp_avg.stem.weight").shape() == Shape{3, 1, 5, 3});
  CHECK(adamw_state.at("exp_avg_sq.head.weight").dtype() == DType::f32);
  CHECK(Sgd(flat, {}).state().size() == 1);
  CHECK(Sgd(flat, {.momentum = 0.9}).state().contains("momentum.head.scale"));
}

TEST_CASE("optim/optimizer/state_of_something_else_is_refused") {
  Parameters parameters(DType::f32);
  FlatParameters flat({{.name = "all", .parameters = parameters.all}});
  AdamW optimizer(flat, {});
  parameters.give_gradients(1);
  optimizer.step();
  const auto good = optimizer.state();
  const auto refused = [&](const std::string& name, const Tensor& tensor,
                           const std::vector<std::string>& parts) {
    auto bad = good;
    bad.erase(name);
    if (tensor.defined()) bad.emplace(name, tensor);
    bad.at("exp_avg.head.scale").fill(7);
    check_error([&] { optimizer.load_state(bad); }, parts);
    for (const auto& [key, value] : optimizer.state())
      if (key != "exp_avg.head.scale") CHECK(same_bits(value, good.at(key)));
    CHECK(optimizer.state().at("exp_avg.head.scale").item() != 7);
    CHECK(optimizer.steps() == 1);
  };
  const auto step = [](std::int64_t value) { return Tensor::of(std::vector<std::int64_t>{value}, {}); };
  refused("exp_avg.stem.weight", {}, {"adamw", "exp_avg.stem.weight", "missing"});
  refused("exp_avg_sq.stem.bias", Tensor::zeros({4}), {"exp_avg_sq.stem.bias", "(3)", "(4)"});
  refused("exp_avg_sq.stem.bias", Tensor::zeros({3}, DType::f64), {"exp_avg_sq.stem.bias", "f32", "f64"});
  refused("exp_avg.other", Tensor::zeros({3}), {"exp_avg.other", "no parameter"});
  refused("step", {}, {"step", "missing"});
  refused("step", step(-1), {"step", "-1"});
  refused("step", Tensor::zeros({}), {"step", "i64", "f32"});
  refused("step", Tensor::zeros({2}, DType::i64), {"step", "(2)"});
}

TEST_CASE("optim/optimizer/a_step_with_bad_gradients_can_be_refused") {
  Parameters parameters(DType::f32);
  FlatParameters flat({{.name = "all", .parameters = parameters.all}});
  AdamW optimizer(flat, {});
  parameters.give_gradients(1);
  optimizer.step();
  const Tensor weights = flat.data().clone();
  const auto state = optimizer.state();
  flat.zero_grad();
  parameters.give_gradients(2);
  parameters["head.weight"].grad.data<float>()[77] = std::numeric_limits<float>::infinity();
  const Tensor norm = flat.clip_grad_norm(1);
  CHECK(!std::isfinite(norm.item()));
  optimizer.step(norm);
  CHECK(same_bits(flat.data(), weights));
  for (const auto& [name, tensor] : optimizer.state())
    if (name != "step") CHECK(same_bits(tensor, state.at(name)));
  CHECK(optimizer.steps() == 2);
  flat.zero_grad();  // and training can go on
  parameters.give_gradients(3);
  const Tensor good = flat.clip_grad_norm(1);
  CHECK(std::isfinite(good.item()));
  optimizer.step(good);
  CHECK(!same_bits(flat.data(), weights));
  for (const double value : flat.data().to_vector()) REQUIRE(std::isfinite(value));
}

TEST_CASE("optim/optimizer/weight_decay_scale") {
  // Without a gradient all that moves a weight is its decay: the first step of AdamW takes lr * decay of it.
  for (const bool adam : {true, false}) {
    Parameters parameters;
    FlatParameters flat(two_groups(parameters));
    const auto optimizer = (adam ? adamw({}) : sgd({.momentum = 0}))(flat);
    optimizer->set_learning_rate(0.5);
    optimizer->set_weight_decay_scale(3);
    const auto before = parameters.values();
    optimizer->step();
    const auto after = parameters.values();
    for (std::size_t i = 0; i < before.size(); ++i)
      for (std::size_t j = 0; j < before[i].size(); ++j) {
        const bool decays = i == 0 || i == 3;  // lr_scale 0.5, weight decay 0.1
        REQUIRE(after[i][j] == Approx(before[i][j] * (decays ? 1 - 0.25 * 0.3 : 1)).epsilon(1e-12));
      }
    check_error([&] { optimizer->set_weight_decay_scale(-1); }, {"scale of the weight decay", "-1"});
  }
}

TEST_CASE("optim/optimizer/errors") {
  Parameters parameters;
  FlatParameters flat({{.name = "all", .parameters = parameters.all}});
  const auto sgd_refused = [&](SgdParams s, const std::vector<std::string>& parts) {
    check_error([&] { Sgd(flat, s); }, parts);
  };
  const auto adamw_refused = [&](AdamWParams s, const std::vector<std::string>& parts) {
    check_error([&] { AdamW(flat, s); }, parts);
  };
  sgd_refused({.lr = -0.1}, {"sgd", "learning rate", "-0.1"});
  sgd_refused({.lr = INFINITY}, {"sgd", "learning rate", "inf"});
  sgd_refused({.momentum = 1}, {"sgd", "momentum", "[0, 1)", "1"});
  sgd_refused({.momentum = -0.5}, {"sgd", "momentum", "-0.5"});
  sgd_refused({.momentum = 0.9, .dampening = NAN}, {"sgd", "dampening"});
  sgd_refused({.nesterov = true}, {"sgd", "nesterov", "momentum"});
  sgd_refused({.momentum = 0.9, .dampening = 0.1, .nesterov = true}, {"sgd", "nesterov", "dampening"});
  adamw_refused({.lr = NAN}, {"adamw", "learning rate"});
  adamw_refused({.betas = {1, 0.999}}, {"adamw", "betas", "[0, 1)", "1"});
  adamw_refused({.betas = {0.9, -0.1}}, {"adamw", "betas", "-0.1"});
  adamw_refused({.eps = 0}, {"adamw", "eps", "0"});
  AdamW optimizer(flat, {});
  check_error([&] { optimizer.set_learning_rate(-1); }, {"adamw", "-1"});
  parameters["stem.bias"].data = Tensor::zeros({3}, DType::f64);
  check_error([&] { optimizer.step(); }, {"stem.bias", "another tensor"});
}
