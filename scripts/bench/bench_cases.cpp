// Runs the cases that a script asks for, so that another framework can be timed beside RepLK in one run:
// compare_pytorch.py is its user. Reads commands on standard input, answers each with one line:
//
//   depthwise PASS C N H W K STRIDE KERNEL    PASS: forward, input, weight or both; KERNEL: automatic, fft,
//   ... pointwise PASS IN OUT PIXELS              a 1x1 convolution train MODEL CHANNELS SIZE BATCH forward,
//   loss, backward, AdamW infer MODEL CHANNELS SIZE BATCH           merged and folded
//                        -> ready, and what was chosen
//   run N                -> milliseconds of each of N runs, one after the other, of the case given last
//   profile              -> "operator ms" for the operators of one run, the slowest first
//   peak                 -> GFLOP/s of multiply-adds and GB/s of a copy, all threads
//   memory               -> MiB of tensors at most since the case was given
//
//   bench_cases [--threads T]
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <sstream>

#include "core/allocator.h"
#include "core/parallel.h"
#include "core/profile.h"
#include "core/random.h"
#include "models/replknet.h"
#include "ops/conv2d/conv2d.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/depthwise_conv2d/depthwise_conv2d.h"
#include "optim/adamw.h"
#include "scripts/bench/depthwise_cases.h"
#include "scripts/bench/machine_peak.h"

using namespace replk;

namespace {

struct Case {
  std::string about;
  std::function<void()> run;
};

Tensor random_tensor(const Shape& shape) {
  Tensor x = Tensor::empty(shape);
  Random random(1);
  for (std::int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] = static_cast<float>(random.uniform(-1, 1));
  return x;
}

Case depthwise(std::istream& in) {
  std::string pass, kernel;
  std::int64_t c, n, h, w, k, stride;
  in >> pass >> c >> n >> h >> w >> k >> stride >> kernel;
  const Tensor x = random_tensor({c, n, h, w}), weight = random_tensor({c, 1, k, k});
  const auto g = DepthwiseConv2dGeometry::of(
      x, weight, {}, {.stride = stride, .padding = k / 2, .kernel = kernel_named(kernel)});
  const Tensor dy = random_tensor(g.output_shape());
  Tensor y = Tensor::empty(g.output_shape()), dx = Tensor::empty(x.shape()),
         dw = Tensor::empty(weight.shape());
  const auto kernel_of = [&g](DepthwisePass p) {
    return std::string(name_of(choose_depthwise_kernel(g, p)));
  };
  if (pass == "forward")
    return {kernel_of(DepthwisePass::forward),
            [=]() mutable { cpu::depthwise_conv2d_forward(g, x, weight, {}, y); }};
  if (pass == "input")
    return {kernel_of(DepthwisePass::backward_input),
            [=] { cpu::depthwise_conv2d_backward_input(g, weight, dy, {dx}); }};
  if (pass == "both")
    return {kernel_of(DepthwisePass::backward_weight),
            [=] { cpu::depthwise_conv2d_backward(g, x, weight, dy, {dx}, {dw}); }};
  return {kernel_of(DepthwisePass::backward_weight),
          [=] { cpu::depthwise_conv2d_backward_weight(g, x, dy, {dw}); }};
}

Case pointwise(std::istream& in) {
  std::string pass;
  std::int64_t from, to, pixels;
  in >> pass >> from >> to >> pixels;
  const Tensor x = random_tensor({from, 1, 1, pixels}), weight = random_tensor({to, from, 1, 1});
  const auto g = Conv2dGeometry::of(x, weight, {}, {});
  const Tensor dy = random_tensor(g.output_shape());
  Tensor y = Tensor::empty(g.output_shape()), dx = Tensor::empty(x.shape()),
         dw = Tensor::empty(weight.shape());
  if (pass == "forward") return {"", [=]() mutable { cpu::conv2d_forward(g, x, weight, {}, y); }};
  if (pass == "input") return {"", [=] { cpu::conv2d_backward_input(g, weight, dy, {dx}); }};
  return {"", [=] { cpu::conv2d_backward_weight(g, x, dy, {dw}); }};
}

struct Network {
  std::shared_ptr<RepLKNet> model;
  Tensor images, labels;

  explicit Network(std::istream& in) {
    std::string name;
    std::int64_t channels, size, batch;
    in >> name >> channels >> size >> batch;
    RepLKNetConfig config = preset(name);
    config.in_channels = channels;
    model = std::make_shared<RepLKNet>(config);
    images = random_tensor({channels, batch, size, size});
    labels = Tensor::zeros({batch}, DType::i64);
  }
};

Case train(std::istream& in) {
  Network network(in);
  auto parameters = std::make_shared<FlatParameters>(split_decay_groups(network.model->parameters(), 0.05));
  auto optimizer = std::make_shared<AdamW>(*parameters, AdamWParams{.lr = 1e-4});
  network.model->train();
  return {"", [=] {
            network.model->set_step(0, static_cast<std::uint64_t>(optimizer->steps()));
            parameters->zero_grad();
            Tape tape;
            const Variable loss = cross_entropy((*network.model)(network.images), network.labels, {});
            tape.backward(loss);
            optimizer->step();
          }};
}

Case infer(std::istream& in) {
  Network network(in);
  network.model->eval();
  network.model->fold_batch_norm();
  return {"", [=] { (*network.model)(network.images); }};
}

Case make(const std::string& line) {
  std::istringstream in(line);
  in.exceptions(std::ios::failbit);
  std::string kind;
  in >> kind;
  if (kind == "depthwise") return depthwise(in);
  if (kind == "pointwise") return pointwise(in);
  if (kind == "train") return train(in);
  if (kind == "infer") return infer(in);
  throw UsageError("no case '" + kind + "'.");
}

double milliseconds(const std::function<void()>& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

std::string profile(const std::function<void()>& f) {
  Profile::enable(true);
  const double total = milliseconds(f);
  std::vector<std::pair<double, std::string>> entries = {{total, "total"}};
  for (const auto& [name, entry] : Profile::entries()) entries.emplace_back(entry.seconds * 1e3, name);
  Profile::enable(false);
  std::sort(entries.rbegin(), entries.rend());
  std::string line;
  for (const auto& [ms, name] : entries) line += str(line.empty() ? "" : ", ", name, ' ', ms);
  return line;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc == 3 && std::string(argv[1]) == "--threads") set_num_threads(std::atoi(argv[2]));
  Case current;
  for (std::string line; std::getline(std::cin, line);) {
    if (line.starts_with("run ")) {
      for (int i = std::atoi(line.c_str() + 4); i > 0; --i) std::cout << milliseconds(current.run) << ' ';
      std::cout << std::endl;
    } else if (line == "profile") {
      std::cout << profile(current.run) << std::endl;
    } else if (line == "peak") {
      std::cout << peak_gflops() << ' ' << copy_gigabytes() << std::endl;
    } else if (line == "memory") {
      std::cout << allocator_for(Device::cpu()).stats().peak / (1 << 20) << std::endl;
    } else {
      current = {};
      allocator_for(Device::cpu()).release_cached();
      current = make(line);
      allocator_for(Device::cpu()).reset_peak();
      std::cout << "ready " << current.about << std::endl;
    }
  }
  return 0;
} catch (const std::exception& e) {
  std::cerr << "bench_cases: " << e.what() << '\n';
  return 2;
}
