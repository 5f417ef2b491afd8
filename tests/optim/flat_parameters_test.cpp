#include "optim/flat_parameters.h"

#include <cmath>
#include <limits>

#include "core/parallel.h"
#include "tests/optim/parameters.h"
#include "tests/support/catch.h"

using namespace replk;
using namespace replk::test;

TEST_CASE("optim/flat_parameters/views_share_memory") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    Parameters parameters(dtype);
    parameters.give_gradients(10);
    std::vector<Tensor> data, gradients;
    for (const Parameter* p : parameters.all) {
      data.push_back(p->data);
      gradients.push_back(p->grad);
    }
    FlatParameters flat({{.name = "all", .parameters = parameters.all}});
    REQUIRE(flat.segments().size() == parameters.all.size());
    std::int64_t end = 0;
    for (std::size_t i = 0; i < parameters.all.size(); ++i) {
      Parameter& p = *parameters.all[i];
      const auto& segment = flat.segments()[i];
      CHECK(segment.parameter == &p);
      CHECK(segment.begin >= end);
      end = segment.end;
      CHECK(same_bits(p.data, data[i]));
      CHECK(same_bits(p.grad, gradients[i]));
      CHECK(!p.data.shares_storage(data[i]));
      CHECK(p.data.shares_storage(flat.data()));
      CHECK(p.grad.shares_storage(flat.gradients()));
      CHECK(p.data.raw() == flat.data().slice(segment.begin, segment.end).raw());
      CHECK(p.grad.raw() == flat.gradients().slice(segment.begin, segment.end).raw());
      CHECK(reinterpret_cast<std::uintptr_t>(p.data.raw()) % 64 == 0);
      CHECK(reinterpret_cast<std::uintptr_t>(p.grad.raw()) % 64 == 0);
      // Written through the parameter, seen in the buffer.
      p.data.fill(2 + static_cast<double>(i));
      p.grad.fill(-2 - static_cast<double>(i));
      CHECK(flat.data().slice(segment.begin, segment.begin + 1).item() == 2 + static_cast<double>(i));
      CHECK(flat.gradients().slice(segment.end - 1, segment.end).item() == -2 - static_cast<double>(i));
    }
    CHECK(end <= flat.data().numel());
  }
}

TEST_CASE("optim/flat_parameters/backward_writes_into_the_buffer") {
  Parameters parameters;
  FlatParameters flat({{.name = "all", .parameters = parameters.all}});
  const void* before = parameters["head.scale"].grad.raw();
  flat.zero_grad();
  GradTarget first = parameters["head.scale"].grad_target();
  CHECK(!first.accumulate);
  CHECK(first.tensor.raw() == before);
  CHECK(parameters["head.scale"].grad_target().accumulate);
  flat.zero_grad();
  CHECK(!parameters["head.scale"].grad_target().accumulate);
}

TEST_CASE("optim/flat_parameters/gradients_of_unused_and_frozen_are_zero") {
  Parameters parameters;
  FlatParameters flat({{.name = "all", .parameters = parameters.all}});
  parameters.give_gradients(1);
  parameters["stem.bias"].trainable = false;  // frozen with an old gradient
  parameters["head.weight"].grad_ready = false;
  const Values kept = parameters["stem.weight"].grad.to_vector();
  flat.complete_gradients();
  CHECK(max_magnitude(parameters["stem.bias"].grad.to_vector()) == 0);
  CHECK(max_magnitude(parameters["head.weight"].grad.to_vector()) == 0);
  CHECK(parameters["stem.weight"].grad.to_vector() == kept);
  // A second backward of the same step adds to the zeros.
  CHECK(parameters["head.weight"].grad_target().accumulate);
}

TEST_CASE("optim/flat_parameters/clip") {
  for (const DType dtype : {DType::f32, DType::f64})
    for (const double max_norm : {0.5, 30.0, 1e6}) {
      Parameters parameters(dtype);
      FlatParameters flat({{.name = "all", .parameters = parameters.all}});
      parameters.give_gradients(5);
      parameters["stem.bias"].grad_ready = false;  // holds numbers that must not count
      double squares = 0;
      std::vector<Values> before;
      for (Parameter* p : parameters.all) {
        before.push_back(p->grad_ready ? p->grad.to_vector() : Values(p->grad.numel()));
        for (const double g : before.back()) squares += g * g;
      }
      const double norm = std::sqrt(squares), scale = std::min(1.0, max_norm / (norm + 1e-6));
      CHECK(flat.grad_norm().item() == Approx(norm).epsilon(1e-12));
      CHECK(flat.clip_grad_norm(max_norm).item() == Approx(norm).epsilon(1e-12));
      CHECK(flat.grad_norm().item() == Approx(norm * scale).epsilon(dtype == DType::f32 ? 1e-6 : 1e-12));
      for (std::size_t i = 0; i < before.size(); ++i) {
        for (double& g : before[i]) g *= scale;
        const double bound = scale == 1 ? 0 : dtype == DType::f32 ? 2e-7 : 1e-15;
        CHECK(max_difference(parameters.all[i]->grad.to_vector(), before[i]) <= bound);
      }
    }
}

TEST_CASE("optim/flat_parameters/norm_has_the_same_bits_for_any_number_of_threads") {
  Parameters parameters(DType::f32);
  parameters.add("large", random_tensor({300, 1000}, 7, -1, 1, DType::f32));
  FlatParameters flat({{.name = "all", .parameters = parameters.all}});
  const int threads = num_threads();
  std::vector<double> norms;
  std::vector<Tensor> clipped;
  for (const int n : {1, 2, 3, 7}) {
    set_num_threads(n);
    flat.zero_grad();
    parameters.give_gradients(5);
    norms.push_back(flat.clip_grad_norm(1).item());
    clipped.push_back(flat.gradients().clone());
  }
  set_num_threads(threads);
  for (std::size_t i = 1; i < norms.size(); ++i) {
    CHECK(norms[i] == norms[0]);
    CHECK(same_bits(clipped[i], clipped[0]));
  }
}

TEST_CASE("optim/flat_parameters/non_finite_gradients") {
  for (const double bad : {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()})
    for (const std::int64_t place : {0, 12345}) {
      Parameters parameters(DType::f32);
      FlatParameters flat({{.name = "all", .parameters = parameters.all}});
      parameters.give_gradients(5);
      parameters["head.weight"].grad.data<float>()[place] = static_cast<float>(bad);
      const Tensor gradients = flat.gradients().clone();
      CHECK(!std::isfinite(flat.clip_grad_norm(1).item()));
      CHECK(same_bits(flat.gradients(), gradients));
    }
  Parameters parameters(DType::f32);  // large, but finite: squares must not overflow
  FlatParameters flat({{.name = "all", .parameters = parameters.all}});
  parameters.give_gradients(5, 1e38);
  CHECK(std::isfinite(flat.grad_norm().item()));
}

TEST_CASE("optim/flat_parameters/split_decay_groups") {
  Parameters parameters;
  parameters.add("odd.bias", random_tensor({2, 2}, 1));
  const auto groups = split_decay_groups(parameters.all, 0.05);
  REQUIRE(groups.size() == 2);
  CHECK(groups[0].weight_decay == 0.05);
  CHECK(groups[0].parameters ==
        std::vector<Parameter*>{&parameters["stem.weight"], &parameters["head.weight"]});
  CHECK(groups[1].weight_decay == 0);
  CHECK(groups[1].parameters == std::vector<Parameter*>{&parameters["stem.bias"], &parameters["head.scale"],
                                                        &parameters["odd.bias"]});
  CHECK(split_decay_groups({&parameters["stem.bias"]}, 0.05).size() == 1);
}

TEST_CASE("optim/flat_parameters/layer_decay_groups") {
  Parameters parameters;
  const auto layer_of = [](const std::string& name) { return name.starts_with("stem") ? 1 : 2; };
  const auto groups = layer_decay_groups(parameters.all, 0.05, 0.5, 4, layer_of);
  REQUIRE(groups.size() == 4);
  CHECK(groups[0].name == "layer 1 decay");
  CHECK(groups[0].lr_scale == 0.25);
  CHECK(groups[0].weight_decay == 0.05);
  CHECK(groups[0].parameters == std::vector<Parameter*>{&parameters["stem.weight"]});
  CHECK(groups[1].name == "layer 1 no_decay");
  CHECK(groups[1].lr_scale == 0.25);
  CHECK(groups[1].weight_decay == 0);
  CHECK(groups[2].lr_scale == 0.5);
  CHECK(groups[2].parameters == std::vector<Parameter*>{&parameters["head.weight"]});
  CHECK(groups[3].parameters == std::vector<Parameter*>{&parameters["head.scale"]});
  check_error([&] { layer_decay_groups(parameters.all, 0, 0.5, 2, layer_of); },
              {"layer_decay_groups", "[0, 2)", "head.weight", "got 2"});
  check_error([&] { layer_decay_groups(parameters.all, 0, 0, 3, layer_of); }, {"layer_decay", "got 0"});
}

TEST_CASE("optim/flat_parameters/errors") {
  Parameters parameters;
  const auto flatten = [](std::vector<Parameter*> list) {
    return [list] { FlatParameters({{.name = "g", .parameters = list}}); };
  };
  Parameter& weight = parameters["stem.weight"];
  Parameter namesake("stem.weight", Tensor::zeros({1}, DType::f64));
  Parameter single("single", Tensor::zeros({1}, DType::f32)), whole("whole", Tensor::zeros({1}, DType::i64));
  Parameter nothing("nothing", {});
  check_error(flatten({&weight, &weight}), {"stem.weight", "twice"});
  check_error(flatten({&weight, &namesake}), {"stem.weight", "twice"});
  check_error(
      [&] {
        FlatParameters({{.name = "a", .parameters = {&weight}}, {.name = "b", .parameters = {&weight}}});
      },
      {"stem.weight", "twice", "\"b\""});
  check_error(flatten({&weight, &single}), {"one dtype", "single", "f32", "f64"});
  check_error(flatten({&whole}), {"whole", "i64"});
  check_error(flatten({&nothing}), {"nothing", "without data"});
  check_error(flatten({nullptr}), {"null"});
  check_error(flatten({}), {"at least one"});
  check_error([&] { FlatParameters({{.name = "g", .parameters = {&weight}, .lr_scale = -1}}); },
              {"\"g\"", "lr_scale", "-1"});
  check_error([&] { FlatParameters({{.name = "g", .parameters = {&weight}, .weight_decay = NAN}}); },
              {"\"g\"", "weight_decay"});
  CHECK(!weight.grad.defined());  // nothing was moved

  FlatParameters flat({{.name = "g", .parameters = parameters.all}});
  check_error([&] { flat.clip_grad_norm(0); }, {"max_norm", "0"});
  check_error([&] { flat.clip_grad_norm(NAN); }, {"max_norm"});
  weight.data = weight.data.clone();
  check_error([&] { flat.grad_norm(); }, {"stem.weight", "another tensor", "copy_from"});
}
