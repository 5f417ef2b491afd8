#include "ops/batch_norm2d/batch_norm2d.h"

#include <cmath>
#include <memory>

#include "core/parallel.h"
#include "ops/activations/activations.h"
#include "ops/primitives/elementwise.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"
#include "tests/support/cuda.h"
#include "tests/support/instruction_sets.h"

using namespace replk;
using namespace replk::test;

namespace {

struct Statistics {
  Values mean, biased, unbiased;
};

Statistics statistics_of(const Values& x, std::size_t channels) {
  const std::size_t m = x.size() / channels;
  Statistics s;
  for (std::size_t c = 0; c < channels; ++c) {
    double sum = 0, squares = 0;
    for (std::size_t i = 0; i < m; ++i) sum += x[c * m + i];
    const double mean = sum / static_cast<double>(m);
    for (std::size_t i = 0; i < m; ++i) squares += (x[c * m + i] - mean) * (x[c * m + i] - mean);
    s.mean.push_back(mean);
    s.biased.push_back(squares / static_cast<double>(m));
    s.unbiased.push_back(squares / static_cast<double>(m - 1));
  }
  return s;
}

Values normalised(const Values& x, const Values& mean, const Values& var, const Values& weight,
                  const Values& bias, double eps) {
  Values y(x.size());
  const std::size_t m = x.size() / weight.size();
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t c = i / m;
    y[i] = (x[i] - mean[c]) / std::sqrt(var[c] + eps) * weight[c] + bias[c];
  }
  return y;
}

double activated(Activation activation, double z) {
  if (activation == Activation::relu) return std::max(z, 0.0);
  return activation == Activation::gelu ? z * std::erfc(-z / std::sqrt(2.0)) / 2 : z;
}

// The running statistics of evaluation, in the dtype asked for.
Tensor running_mean_of(std::int64_t channels, DType dtype) {
  return random_tensor({channels}, 11, -0.5, 0.5, dtype);
}
Tensor running_var_of(std::int64_t channels, DType dtype) {
  return random_tensor({channels}, 12, 0.5, 2, dtype);
}

// y by definition, of x, weight and bias.
Values by_definition(const std::vector<Values>& in, const BatchNorm2dParams& params) {
  const auto channels = static_cast<std::int64_t>(in[1].size());
  Values mean = running_mean_of(channels, DType::f64).to_vector(),
         var = running_var_of(channels, DType::f64).to_vector();
  if (params.training) {
    const Statistics s = statistics_of(in[0], in[1].size());
    mean = s.mean, var = s.biased;
  }
  Values y = normalised(in[0], mean, var, in[1], in[2], params.eps);
  for (double& value : y) value = activated(params.activation, value);
  return y;
}

// x, weight and bias; with relu such that nothing that goes into it is within a difference step of its
// corner.
std::vector<Tensor> inputs_of(const Shape& shape, BatchNorm2dParams params) {
  std::vector<Tensor> inputs = {random_tensor(shape, 1, -1, 3), random_tensor({shape[0]}, 2, 0.5, 1.5),
                                random_tensor({shape[0]}, 3)};
  if (params.activation != Activation::relu) return inputs;
  params.activation = Activation::none;
  for (bool again = true; again;) {
    again = false;
    const Values z =
        by_definition({inputs[0].to_vector(), inputs[1].to_vector(), inputs[2].to_vector()}, params);
    for (std::size_t i = 0; i < z.size(); ++i)
      if (std::abs(z[i]) < 1e-3) inputs[0].data<double>()[i] += 0.01, again = true;
  }
  return inputs;
}

OpCase norm_case(const Shape& shape, BatchNorm2dParams params) {
  const auto columns = static_cast<double>(shape.numel() / shape[0]);
  return {.name = str("batch_norm2d ", shape, params.training ? " training " : " eval ",
                      name_of(params.activation)),
          .inputs = inputs_of(shape, params),
          .op =
              [=](const auto& in) {
                Tensor mean = beside(running_mean_of(shape[0], DType::f64), in[1]);
                Tensor var = beside(running_var_of(shape[0], DType::f64), in[1]);
                return batch_norm2d(in[0], in[1], in[2], mean, var, params);
              },
          .reference = [=](const auto& in) { return by_definition(in, params); },
          .terms = params.training ? columns : 1,
          .gradient_terms = columns,
          .full_precision = {1, 2}};
}

const std::vector<Shape> kShapes = {{6, 2, 4, 5}, {1, 1, 3, 2},  {3, 1, 7, 5},  {17, 2, 3, 3},
                                    {2, 3, 1, 1}, {5, 1, 1, 17}, {3, 4, 23, 31}};

struct Run {
  Tensor y, running_mean, running_var;
};

Run run(const Tensor& x, BatchNorm2dParams params) {
  const std::int64_t channels = x.size(0);
  Run r{{},
        running_mean_of(channels, x.dtype()).to(x.device()),
        running_var_of(channels, x.dtype()).to(x.device())};
  const Tensor ones = Tensor::full({channels}, 1, x.dtype(), x.device());
  const Tensor zeros = Tensor::full({channels}, 0, x.dtype(), x.device());
  r.y = batch_norm2d(x, ones, zeros, r.running_mean, r.running_var, params).data();
  return r;
}

// Gradients of what is wanted of x, weight and bias; undefined where not.
std::vector<Tensor> gradients_of(const std::vector<Tensor>& inputs, const std::vector<bool>& wanted,
                                 const BatchNorm2dParams& params) {
  Tensor mean = running_mean_of(inputs[0].size(0), DType::f32),
         var = running_var_of(inputs[0].size(0), DType::f32);
  std::vector<std::unique_ptr<Parameter>> parameters;
  std::vector<Variable> variables;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    parameters.push_back(std::make_unique<Parameter>("input", inputs[i]));
    variables.push_back(wanted[i] ? Variable(*parameters[i]) : Variable(inputs[i]));
  }
  Tape tape;
  const Variable y = batch_norm2d(variables[0], variables[1], variables[2], mean, var, params);
  tape.backward(y, random_tensor(y.shape(), 9, -1, 1, DType::f32));
  std::vector<Tensor> gradients;
  for (const auto& parameter : parameters)
    gradients.push_back(parameter->grad_ready ? parameter->grad : Tensor());
  return gradients;
}

}  // namespace

TEST_CASE("ops/batch_norm2d/training") {
  for_each_instruction_set([] {
    for (const Shape& shape : kShapes) check_op(norm_case(shape, {}));
    check_op(norm_case({4, 2, 3, 5}, {.eps = 0.1}));
    check_op(norm_case({2, 1, 1, 2}, {.eps = 0.5}));  // of two values only eps lets a gradient through
  });
}

TEST_CASE("ops/batch_norm2d/eval") {
  for_each_instruction_set([] {
    for (const Shape& shape : kShapes) check_op(norm_case(shape, {.training = false}));
    check_op(norm_case({3, 1, 1, 1}, {.training = false, .eps = 0.1}));
  });
}

TEST_CASE("ops/batch_norm2d/activation") {
  for_each_instruction_set([] {
    for (const Activation activation : {Activation::relu, Activation::gelu})
      for (const bool training : {true, false})
        for (const Shape& shape : kShapes)
          check_op(norm_case(shape, {.training = training, .activation = activation}));
  });
}

// Where the gradient of x is not wanted, that of the activation has no place in it to lie in.
TEST_CASE("ops/batch_norm2d/some_gradients") {
  for (const Activation activation : {Activation::none, Activation::relu, Activation::gelu})
    for (const bool training : {true, false}) {
      const BatchNorm2dParams params{.training = training, .activation = activation};
      std::vector<Tensor> inputs;
      for (const Tensor& input : inputs_of({3, 4, 23, 31}, params)) inputs.push_back(cast(input, DType::f32));
      const std::vector<Tensor> all = gradients_of(inputs, {true, true, true}, params);
      for (std::size_t i = 0; i < 3; ++i) {
        std::vector<bool> wanted(3, false);
        wanted[i] = true;
        INFO("input " << i << ", activation " << name_of(activation));
        CHECK(gradients_of(inputs, wanted, params)[i].to_vector() == all[i].to_vector());
      }
    }
}

// The fused activation is the operator of that name, bit for bit.
TEST_CASE("ops/batch_norm2d/activation_is_the_operator") {
  for_each_instruction_set([] {
    const Tensor x = random_tensor({3, 4, 23, 31}, 1, -9, 12, DType::f32);
    for (const bool training : {true, false}) {
      const Tensor z = run(x, {.training = training}).y;
      CHECK(run(x, {.training = training, .activation = Activation::relu}).y.to_vector() ==
            relu(z).data().to_vector());
      CHECK(run(x, {.training = training, .activation = Activation::gelu}).y.to_vector() ==
            gelu(z).data().to_vector());
    }
  });
}

TEST_CASE("ops/batch_norm2d/running_statistics") {
  const Tensor x = random_tensor({5, 3, 4, 7}, 1, -1, 4);
  const Statistics s = statistics_of(x.to_vector(), 5);
  const double momentum = 0.3;
  const Values mean = running_mean_of(5, DType::f64).to_vector(),
               var = running_var_of(5, DType::f64).to_vector();
  for (const DType dtype : {DType::f64, DType::f32}) {
    const double bound = dtype == DType::f64 ? 1e-14 : 1e-6;
    const Run moved = run(cast(x, dtype), {.momentum = momentum});
    Values expected_mean, expected_var;
    for (std::size_t c = 0; c < 5; ++c) {
      expected_mean.push_back((1 - momentum) * mean[c] + momentum * s.mean[c]);
      expected_var.push_back((1 - momentum) * var[c] + momentum * s.unbiased[c]);
    }
    CHECK(max_difference(moved.running_mean.to_vector(), expected_mean) <= bound);
    CHECK(max_difference(moved.running_var.to_vector(), expected_var) <= bound);
  }
  for (const BatchNorm2dParams& params :
       {BatchNorm2dParams{.update_statistics = false}, BatchNorm2dParams{.training = false}}) {
    const Run still = run(x, params);
    CHECK(still.running_mean.to_vector() == mean);
    CHECK(still.running_var.to_vector() == var);
  }
}

TEST_CASE("ops/batch_norm2d/checkpoint_moves_statistics_once") {
  const Tensor x = random_tensor({3, 2, 4, 4}, 1);
  Tensor mean = Tensor::zeros({3}, DType::f64), var = Tensor::full({3}, 1, DType::f64);
  Parameter weight("weight", random_tensor({3}, 2)), bias("bias", random_tensor({3}, 3));
  Tape tape;
  const Variable y =
      checkpoint([&](const Variable& in) { return batch_norm2d(in, weight, bias, mean, var); }, x);
  tape.backward(y, random_tensor(x.shape(), 4));
  REQUIRE(weight.grad_ready);
  CHECK(max_difference(mean.to_vector(), [&] {
          Values expected = statistics_of(x.to_vector(), 3).mean;
          for (double& value : expected) value *= 0.1;
          return expected;
        }()) <= 1e-15);
}

// Wherever the vector code and the blocks end: against the definition, f32 and f64.
TEST_CASE("ops/batch_norm2d/tails") {
  for_each_instruction_set([] {
    std::vector<std::int64_t> lengths{2047, 2048, 2049, 2065, 4095, 4096, 4100};
    for (std::int64_t n = 2; n <= 140; ++n) lengths.push_back(n);
    for (const std::int64_t n : lengths) {
      const Tensor x = random_tensor({2, 1, 1, n}, static_cast<std::uint64_t>(n), 2, 3);
      const Statistics s = statistics_of(x.to_vector(), 2);
      const Values exact = normalised(x.to_vector(), s.mean, s.biased, {1, 1}, {0, 0}, 1e-5);
      INFO("columns " << n);
      CHECK(max_difference(run(x, {}).y.to_vector(), exact) <= 1e-11);
      CHECK(max_difference(run(cast(x, DType::f32), {}).y.to_vector(), exact) <= 2e-5);
    }
  });
}

// E[x^2] - E[x]^2 in f32 would lose the variance altogether here.
TEST_CASE("ops/batch_norm2d/large_mean") {
  for_each_instruction_set([] {
    const Tensor x = cast(random_tensor({2, 4, 31, 67}, 5, 999, 1001), DType::f32);
    const Statistics s = statistics_of(x.to_vector(), 2);
    const Values exact = normalised(x.to_vector(), s.mean, s.biased, {1, 1}, {0, 0}, 1e-5);
    const Run r = run(x, {.momentum = 1});
    CHECK(max_difference(r.y.to_vector(), exact) <= 2e-4);  // half an ulp of 1000 (3e-5) over std 0.58
    CHECK(max_difference(r.running_var.to_vector(), s.unbiased) <= 1e-5);
  });
}

// Rounding must not make the variance negative, nor move the mean off the value.
TEST_CASE("ops/batch_norm2d/constant_rows") {
  for_each_instruction_set([] {
    for (const double value : {0.1, 1234.567, -3e-5, 7e8}) {
      const Run r = run(Tensor::full({3, 2, 31, 41}, value), {.momentum = 1});
      CHECK(max_magnitude(r.y.to_vector()) == 0);
      for (const double var : r.running_var.to_vector()) CHECK((var >= 0 && var <= 1e-12 * value * value));
    }
  });
}

TEST_CASE("ops/batch_norm2d/not_finite") {
  for_each_instruction_set([] {
    Tensor x = random_tensor({2, 1, 5, 9}, 1, -1, 1, DType::f32);
    x.data<float>()[7] = std::nanf("");
    const Values y = run(x, {}).y.to_vector();
    for (std::size_t i = 0; i < 45; ++i) CHECK(std::isnan(y[i]));
    for (std::size_t i = 45; i < 90; ++i) CHECK(std::isfinite(y[i]));
  });
}

TEST_CASE("ops/batch_norm2d/statistics keep what is not finite") {
  Tensor x = random_tensor({2, 1, 5, 9}, 1, -1, 1, DType::f32);
  x.data<float>()[7] = std::nanf("");
  for (const Device device : {Device::cpu(), Device::cuda()}) {
    if (!device.is_cpu() && !cuda_or_skip("batch_norm2d of NaN")) continue;
    INFO(device);
    const Tensor ones = Tensor::full({2}, 1, DType::f32, device);
    Tensor mean = Tensor::zeros({2}, DType::f32, device), var = ones.clone();
    batch_norm2d(x.to(device), ones, ones, mean, var);
    for (const Tensor& statistic : {mean, var}) {
      CHECK(std::isnan(statistic.to_vector()[0]));
      CHECK(std::isfinite(statistic.to_vector()[1]));
    }
  }
}

TEST_CASE("ops/batch_norm2d/on CUDA") {
  if (!cuda_or_skip("batch_norm2d statistics")) return;
  for (const Shape& shape : {Shape{3, 2, 5, 7}, Shape{2, 4, 64, 64}, Shape{1500, 1, 3, 3}}) {
    INFO(shape);
    // Far from 0, with a first element far from all others: what a sum about a bad pivot would lose.
    Tensor x = random_tensor(shape, 5, 99, 101);
    x.data<double>()[0] = -3000;
    const Tensor ones = Tensor::full({shape[0]}, 1, DType::f64),
                 zeros = Tensor::zeros({shape[0]}, DType::f64);
    const auto run_on = [&](Device device, DType dtype) {
      // Copies: they are written to.
      Tensor mean = cast(zeros, dtype).clone().to(device), var = cast(ones, dtype).clone().to(device);
      const Tensor y = batch_norm2d(cast(x, dtype).to(device), cast(ones, dtype).to(device),
                                    cast(zeros, dtype).to(device), mean, var)
                           .data();
      return std::vector<Values>{y.to_vector(), mean.to_vector(), var.to_vector()};
    };
    const auto exact = run_on(Device::cpu(), DType::f64);
    for (const DType dtype : {DType::f64, DType::f32}) {
      const auto got = run_on(Device::cuda(), dtype);
      for (std::size_t i = 0; i < 3; ++i) {
        INFO(dtype << ' ' << (i == 0 ? "y" : i == 1 ? "running_mean" : "running_var"));
        const double tolerance = (dtype == DType::f64 ? 1e-11 : 1e-4) * max_magnitude(exact[i]);
        CHECK(max_difference(got[i], exact[i]) <= tolerance);
      }
    }
  }
  const Tensor x = random_tensor({3, 2, 4, 4}, 1, -1, 1, DType::bf16).to(Device::cuda());
  Tensor narrow = Tensor::zeros({3}, DType::bf16, Device::cuda());
  check_error([&] { batch_norm2d(x, narrow, narrow, narrow, narrow); }, {"batch_norm2d", "bf16", "f32 for"});
}

namespace {

constexpr BatchNorm2dKernel kOnChip = BatchNorm2dKernel::on_chip;

bool clusters_or_skip(const std::string& what) {
  if (!cuda_or_skip(what)) return false;
  if (device_info(Device::cuda()).compute_capability_major >= 9) return true;
  skip_cuda(what, "this GPU has no clusters");
  return false;
}

// y, running mean and variance, and the gradients of x, weight and bias.
std::vector<Values> everything(const Tensor& x, const Tensor& dy, const BatchNorm2dParams& params) {
  const Shape channels{x.size(0)};
  const auto full = [&](double value) { return Tensor::full(channels, value, x.dtype(), x.device()); };
  Parameter input("input", x), weight("weight", full(1.5)), bias("bias", full(-0.25));
  Tensor mean = full(0), var = full(1);
  Tape tape;
  const Variable y = batch_norm2d(input, weight, bias, mean, var, params);
  tape.backward(y, dy);
  return {y.data().to_vector(),   mean.to_vector(),        var.to_vector(),
          input.grad.to_vector(), weight.grad.to_vector(), bias.grad.to_vector()};
}

// f32 on the GPU beside f64 on the CPU.
void check_everything(const Tensor& x, const Tensor& dy, const BatchNorm2dParams& params) {
  const auto exact = everything(cast(x, DType::f64), cast(dy, DType::f64), params);
  const auto got = everything(x.to(Device::cuda()), dy.to(Device::cuda()), params);
  for (std::size_t i = 0; i < exact.size(); ++i) {
    INFO("columns " << x.numel() / x.size(0) << ", result " << i);
    CHECK(max_difference(got[i], exact[i]) <= 2e-5 * max_magnitude(exact[i], 1));
  }
}

}  // namespace

// By every number of blocks, also more than a channel has vectors for.
TEST_CASE("ops/batch_norm2d/on chip") {
  if (!clusters_or_skip("batch_norm2d on chip")) return;
  for (const int blocks : {1, 2, 4, 8, 16}) {
    const auto check = [&](const Shape& shape, BatchNorm2dParams params) {
      params.kernel = kOnChip, params.blocks_per_channel = blocks;
      check_op(norm_case(shape, params));
    };
    for (const Shape& shape : {Shape{3, 2, 4, 5}, Shape{1, 1, 1, 8}, Shape{2, 4, 16, 31}}) check(shape, {});
    check({140, 1, 2, 4}, {});  // several channels to a multiprocessor
    check({3, 2, 4, 5}, {.activation = Activation::gelu});
    check({3, 2, 4, 5}, {.activation = Activation::relu});
    check({3, 2, 4, 5}, {.training = false, .activation = Activation::gelu});
  }
}

// Where one more vector takes more blocks, or no longer fits: the kernels hold 226 KiB to a block.
TEST_CASE("ops/batch_norm2d/on chip, as much as fits") {
  if (!clusters_or_skip("batch_norm2d on chip")) return;
  constexpr std::int64_t kBlock = 226 * 1024 / 4;  // f32 elements of one input
  for (const std::int64_t most :
       {kBlock / 4 - 64, kBlock / 2 - 128, kBlock / 2, kBlock, 8 * kBlock, 16 * kBlock})
    for (const std::int64_t columns : {most, most + 1, most + 4}) {
      const Shape shape{1, 1, 1, columns};
      check_everything(random_tensor(shape, 1, 2, 5, DType::f32), random_tensor(shape, 2, -1, 1, DType::f32),
                       {});
    }
  const auto run_on_chip = [](std::int64_t columns, int blocks, bool backward) {
    const Shape shape{1, 1, 1, columns};
    const Tensor x = random_tensor(shape, 1, 2, 5, DType::f32).to(Device::cuda());
    const BatchNorm2dParams params{.kernel = kOnChip, .blocks_per_channel = blocks};
    if (backward)
      everything(x, x, params);
    else
      run(x, params);
  };
  run_on_chip(kBlock, 1, false);
  check_error([&] { run_on_chip(kBlock + 4, 1, false); }, {"batch_norm2d", "57860 columns", "f32", "chip"});
  check_error([&] { run_on_chip(kBlock - 1, 1, false); },
              {"batch_norm2d", "57855 columns"});  // no whole vectors
  run_on_chip(kBlock / 2, 1, true);
  check_error([&] { run_on_chip(kBlock / 2 + 4, 1, true); }, {"batch_norm2d", "28932 columns"});
  run_on_chip(kBlock / 2 + 4, 2, true);
  check_error([&] { run_on_chip(16 * kBlock + 4, 0, false); }, {"batch_norm2d", "chip"});
}

TEST_CASE("ops/batch_norm2d/on chip, unaligned") {
  if (!cuda_or_skip("batch_norm2d of an unaligned tensor")) return;
  const Tensor storage = random_tensor({101}, 1, 2, 5, DType::f32);
  const Tensor x = storage.slice(1, 101).view({1, 1, 4, 25}),
               dy = random_tensor(x.shape(), 2, -1, 1, DType::f32);
  const auto exact = everything(cast(x, DType::f64), cast(dy, DType::f64), {});
  const Tensor there = storage.to(Device::cuda()).slice(1, 101).view(x.shape());
  const auto got = everything(there, dy.to(Device::cuda()), {});
  for (std::size_t i = 0; i < exact.size(); ++i) CHECK(max_difference(got[i], exact[i]) <= 1e-4);
  check_error([&] { everything(there, dy.to(Device::cuda()), {.kernel = kOnChip}); },
              {"batch_norm2d", "chip"});
}

TEST_CASE("ops/batch_norm2d/errors") {
  const Tensor x = random_tensor({3, 2, 4, 4}, 1), ones = Tensor::full({3}, 1, DType::f64);
  Tensor mean = ones.clone(), var = ones.clone();
  const auto call = [&](const Tensor& in, const Tensor& weight, BatchNorm2dParams params = {}) {
    return [=]() mutable { batch_norm2d(in, weight, ones, mean, var, params); };
  };
  check_error(call(random_tensor({3, 4}, 1), ones), {"batch_norm2d", "(C, N, H, W)", "(3, 4)"});
  check_error(call(x, random_tensor({2}, 1)), {"batch_norm2d", "weight", "(3,)", "(2)"});
  check_error(call(x, cast(ones, DType::f32)), {"batch_norm2d", "weight", "f64", "f32"});
  check_error(call(random_tensor({3, 1, 1, 1}, 1), ones),
              {"batch_norm2d", "more than one value", "(3, 1, 1, 1)"});
  check_error(call(x, ones, {.momentum = 1.5}), {"batch_norm2d", "momentum", "1.5"});
  check_error(call(x, ones, {.eps = -1}), {"batch_norm2d", "eps", "-1"});
  Tensor short_mean = random_tensor({2}, 1);
  check_error([&] { batch_norm2d(x, ones, ones, short_mean, var); }, {"batch_norm2d", "running_mean", "(2)"});
}
