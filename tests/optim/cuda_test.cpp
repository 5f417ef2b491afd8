// Optimizers, clipping and averages on a GPU do what they do on the CPU.
#include <cmath>
#include <limits>
#include <memory>

#include "optim/adamw.h"
#include "optim/ema.h"
#include "optim/sgd.h"
#include "tests/optim/parameters.h"
#include "tests/support/catch.h"
#include "tests/support/cuda.h"

using namespace replk;
using namespace replk::test;

namespace {

using Make = std::function<std::unique_ptr<Optimizer>(FlatParameters&)>;

std::vector<Make> optimizers() {
  const auto sgd = [](SgdParams params) {
    return [params](FlatParameters& flat) { return std::make_unique<Sgd>(flat, params); };
  };
  return {sgd({.lr = 0.1}), sgd({.lr = 0.1, .momentum = 0.9, .dampening = 0.1}),
          sgd({.lr = 0.1, .momentum = 0.9, .nesterov = true}),
          [](FlatParameters& flat) { return std::make_unique<AdamW>(flat, AdamWParams{.lr = 0.01}); }};
}

// Parameters, optimizer and average on a device.
struct Setup {
  Parameters parameters;
  std::unique_ptr<FlatParameters> flat;
  std::unique_ptr<Optimizer> optimizer;
  std::unique_ptr<Ema> ema;

  Setup(const Make& make, DType dtype, Device device) : parameters(dtype) {
    for (Parameter* p : parameters.all) p->data = p->data.to(device);
    flat = std::make_unique<FlatParameters>(
        std::vector<ParameterGroup>{{.name = "a",
                                     .parameters = {parameters.all[0], parameters.all[3]},
                                     .lr_scale = 0.5,
                                     .weight_decay = 0.1},
                                    {.name = "b", .parameters = {parameters.all[1], parameters.all[2]}}});
    optimizer = make(*flat);
    ema = std::make_unique<Ema>(*flat, 0.9);
  }

  // One step, clipped to max_norm; parameter `frozen` is frozen and `unused` gets no gradient, -1 for none.
  double step(std::uint64_t seed, double max_norm, int frozen = -1, int unused = -1) {
    flat->zero_grad();
    for (std::size_t i = 0; i < parameters.all.size(); ++i) {
      Parameter& p = *parameters.all[i];
      p.trainable = static_cast<int>(i) != frozen;
      if (static_cast<int>(i) != unused)
        p.grad_target().tensor.copy_from(random_tensor(p.data.shape(), seed + i, -1, 1, p.data.dtype()));
    }
    const Tensor norm = flat->clip_grad_norm(max_norm);
    optimizer->set_learning_rate(0.01 * static_cast<double>(seed));
    optimizer->step(norm);
    ema->update();
    return norm.item();
  }
};

void check_close(const Tensor& on_gpu, const Tensor& on_cpu, double tolerance) {
  REQUIRE(on_gpu.shape() == on_cpu.shape());
  CHECK(max_difference(on_gpu.to_vector(), on_cpu.to_vector()) <= tolerance);
}

}  // namespace

TEST_CASE("optim/cuda/steps_as_on_the_cpu") {
  if (!cuda_or_skip("optimizers")) return;
  for (const DType dtype : {DType::f32, DType::f64}) {
    const double tolerance = dtype == DType::f32 ? 2e-6 : 1e-14;
    for (const Make& make : optimizers()) {
      Setup cpu(make, dtype, Device::cpu()), gpu(make, dtype, Device::cuda()),
          again(make, dtype, Device::cuda());
      for (std::uint64_t t = 1; t <= 6; ++t) {
        const double max_norm = t % 2 ? 1 : 1e6;
        const int frozen = t == 4 ? 1 : -1, unused = t == 3 ? 2 : -1;
        const double norm = cpu.step(t, max_norm, frozen, unused);
        CHECK(gpu.step(t, max_norm, frozen, unused) == Approx(norm).epsilon(1e-12));
        again.step(t, max_norm, frozen, unused);
      }
      check_close(gpu.flat->data(), cpu.flat->data(), tolerance);
      check_close(gpu.flat->gradients(), cpu.flat->gradients(), tolerance);
      for (const auto& [name, tensor] : cpu.optimizer->state())
        check_close(gpu.optimizer->state().at(name), tensor, 10 * tolerance);
      for (const auto& [name, tensor] : cpu.ema->state())
        check_close(gpu.ema->state().at(name), tensor, tolerance);
      CHECK(same_bits(gpu.flat->data(), again.flat->data()));

      const Tensor weights = gpu.flat->data().clone(), averages = gpu.ema->state().begin()->second;
      gpu.ema->swap();
      CHECK(!same_bits(gpu.flat->data(), weights));
      CHECK(same_bits(gpu.parameters[gpu.ema->state().begin()->first.substr(4)].data, averages));
      gpu.ema->swap();
      CHECK(same_bits(gpu.flat->data(), weights));
    }
  }
}

TEST_CASE("optim/cuda/state_travels_between_devices") {
  if (!cuda_or_skip("optimizer state")) return;
  for (const Make& make : optimizers()) {
    Setup cpu(make, DType::f32, Device::cpu()), gpu(make, DType::f32, Device::cuda());
    for (std::uint64_t t = 1; t <= 3; ++t) gpu.step(t, 1);
    for (std::size_t i = 0; i < gpu.parameters.all.size(); ++i)
      cpu.parameters.all[i]->data.copy_from(gpu.parameters.all[i]->data);
    cpu.optimizer->load_state(gpu.optimizer->state());
    CHECK(cpu.optimizer->steps() == 3);
    cpu.step(4, 1), gpu.step(4, 1);
    check_close(gpu.flat->data(), cpu.flat->data(), 2e-6);
  }
}

TEST_CASE("optim/cuda/a_gradient_that_is_not_finite_changes_nothing") {
  if (!cuda_or_skip("non-finite gradients")) return;
  for (const Make& make : optimizers())
    for (const double bad :
         {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
      Setup gpu(make, DType::f32, Device::cuda());
      gpu.step(1, 1);
      const Tensor weights = gpu.flat->data().clone();
      const auto state = gpu.optimizer->state();
      gpu.flat->zero_grad();
      for (Parameter* p : gpu.parameters.all) p->grad_target().tensor.fill(1);
      gpu.parameters["stem.bias"].grad.fill(bad);
      const Tensor norm = gpu.flat->clip_grad_norm(1);
      gpu.optimizer->step(norm);
      CHECK(!std::isfinite(norm.item()));
      CHECK(same_bits(gpu.flat->data(), weights));
      for (const auto& [name, tensor] : gpu.optimizer->state())
        if (name != "step") CHECK(same_bits(tensor, state.at(name)));
      gpu.step(2, 1);
      CHECK(!same_bits(gpu.flat->data(), weights));
    }
}
