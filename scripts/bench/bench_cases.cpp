// Runs the cases that a script asks for, so that another framework can be timed beside RepLK in one run:
// compare_pytorch.py is its user. Reads commands on standard input, answers each with one line:
//
//   depthwise PASS C N H W K STRIDE KERNEL
//                        PASS: forward, input, weight or both; KERNEL: automatic, fft, ...
//   pointwise PASS IN OUT PIXELS
//                        a 1x1 convolution
//   train MODEL CHANNELS SIZE BATCH
//                        forward, loss, backward, AdamW
//   infer MODEL CHANNELS SIZE BATCH
//                        merged and folded
//                        -> to each of these four: ready, and what was chosen
//   run N [W]            -> milliseconds of each of N runs of the case given last, one right after the other
//                           and after W that do not count; on a GPU the mean of N runs launched in a row
//   profile              -> "operator ms" for the operators of one run, the slowest first
//   peak                 -> GFLOP/s of products and GB/s of a copy: the CPU's multiply-adds on all threads,
//                           or a large matrix product on the GPU
//   memory               -> MiB of tensors at most since the case was given
//
//   bench_cases [--threads T] [--device cpu|cuda] [--precision fp32|tf32|bf16]
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <sstream>

#include "core/allocator.h"
#include "core/dispatch.h"
#include "core/parallel.h"
#include "core/precision.h"
#include "core/profile.h"
#include "core/random.h"
#include "core/replay.h"
#include "models/replknet.h"
#include "ops/conv2d/conv2d.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/depthwise_conv2d/depthwise_conv2d.h"
#include "ops/primitives/elementwise.h"
#include "optim/adamw.h"
#include "scripts/bench/depthwise_cases.h"
#include "scripts/bench/machine_peak.h"

using namespace replk;

namespace {

struct Case {
  std::string about;
  std::function<void()> run;
};

// Where and in what activations are computed.
struct Where {
  Device device = Device::cpu();
  DType dtype = DType::f32;
};

Tensor random_tensor(const Shape& shape, Device device) {
  Tensor x = Tensor::empty(shape);
  Random random(1);
  for (std::int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] = static_cast<float>(random.uniform(-1, 1));
  return x.to(device);
}

Case depthwise(std::istream& in, Where where) {
  std::string pass, kernel;
  std::int64_t c, n, h, w, k, stride;
  in >> pass >> c >> n >> h >> w >> k >> stride >> kernel;
  const Tensor x = cast(random_tensor({c, n, h, w}, where.device), where.dtype);
  const Tensor weight = random_tensor({c, 1, k, k}, where.device), taps = cast(weight, where.dtype);
  // A training step prepares the weight that has just changed in the forward pass, for the backward one too.
  const auto prepared = std::make_shared<Prepared>();
  const auto g = DepthwiseConv2dGeometry::of(x, weight, {},
                                             {.stride = stride,
                                              .padding = k / 2,
                                              .kernel = kernel_named(kernel),
                                              .prepared = pass == "forward" ? nullptr : prepared.get()});
  const Tensor dy = cast(random_tensor(g.output_shape(), where.device), where.dtype);
  Tensor y = Tensor::empty_like(dy), dx = Tensor::empty_like(x), dw = Tensor::empty_like(weight);
  if constexpr (kHasCuda) {
    if (!where.device.is_cpu()) {
      const std::string chosen = name_of(cuda::choose_depthwise_kernel(g, where.dtype));
      if (pass == "forward")
        return {chosen, [=]() mutable { cuda::depthwise_conv2d_forward(g, x, taps, {}, y); }};
      if (pass == "input") return {chosen, [=] { cuda::depthwise_conv2d_backward_input(g, taps, dy, {dx}); }};
      return {chosen, [=] { cuda::depthwise_conv2d_backward_weight(g, x, dy, {dw}); }};
    }
  }
  const auto kernel_of = [&g](DepthwisePass p) {
    return std::string(name_of(choose_depthwise_kernel(g, p)));
  };
  if (pass == "forward")
    return {kernel_of(DepthwisePass::forward),
            [=]() mutable { cpu::depthwise_conv2d_forward(g, x, weight, {}, y); }};
  if (pass == "input")
    return {kernel_of(DepthwisePass::backward_input),
            [=, keep = prepared] { cpu::depthwise_conv2d_backward_input(g, weight, dy, {dx}); }};
  if (pass == "both")
    return {kernel_of(DepthwisePass::backward_weight),
            [=, keep = prepared] { cpu::depthwise_conv2d_backward(g, x, weight, dy, {dx}, {dw}); }};
  return {kernel_of(DepthwisePass::backward_weight),
          [=] { cpu::depthwise_conv2d_backward_weight(g, x, dy, {dw}); }};
}

Case pointwise(std::istream& in, Where where) {
  std::string pass;
  std::int64_t from, to, pixels;
  in >> pass >> from >> to >> pixels;
  const Tensor x = cast(random_tensor({from, 1, 1, pixels}, where.device), where.dtype);
  const Tensor weight = random_tensor({to, from, 1, 1}, where.device), taps = cast(weight, where.dtype);
  const auto g = Conv2dGeometry::of(x, weight, {}, {});
  const Tensor dy = cast(random_tensor(g.output_shape(), where.device), where.dtype);
  Tensor y = Tensor::empty_like(dy), dx = Tensor::empty_like(x), dw = Tensor::empty_like(weight);
  const auto on = [device = where.device](const auto& cpu, const auto& cuda) {
    dispatch("conv2d", device, cpu, cuda);
  };
  if (pass == "forward")
    return {"", [=]() mutable {
              on([&] { cpu::conv2d_forward(g, x, taps, {}, y); },
                 [&] { cuda::conv2d_forward(g, x, taps, {}, y); });
            }};
  if (pass == "input")
    return {"", [=] {
              on([&] { cpu::conv2d_backward_input(g, taps, dy, {dx}); },
                 [&] { cuda::conv2d_backward_input(g, taps, dy, {dx}); });
            }};
  return {"", [=] {
            on([&] { cpu::conv2d_backward_weight(g, x, dy, {dw}); },
               [&] { cuda::conv2d_backward_weight(g, x, dy, {dw}); });
          }};
}

struct Network {
  std::shared_ptr<RepLKNet> model;
  Tensor images, labels;

  Network(std::istream& in, Where where) {
    std::string name;
    std::int64_t channels, size, batch;
    in >> name >> channels >> size >> batch;
    RepLKNetConfig config = preset(name);
    config.in_channels = channels;
    model = std::make_shared<RepLKNet>(config);
    images = cast(random_tensor({channels, batch, size, size}, where.device), where.dtype);
    labels = Tensor::zeros({batch}, DType::i64, where.device);
  }
};

// As `replk train` does it: on a GPU a recorded step.
Case train(std::istream& in, Where where) {
  Network network(in, where);
  network.model->to(where.device);
  auto parameters = std::make_shared<FlatParameters>(split_decay_groups(network.model->parameters(), 0.05));
  auto optimizer = std::make_shared<AdamW>(*parameters, AdamWParams{.lr = 1e-4});
  network.model->train();
  auto replay = std::make_shared<Replay>();
  const auto step = [=](const std::vector<Tensor>& inputs) {
    parameters->zero_grad();
    Tape tape;
    const Variable loss = cross_entropy((*network.model)(inputs[0]), inputs[1], {});
    tape.backward(loss);
    optimizer->step();
    return std::vector<Tensor>{loss.data()};
  };
  // The recording goes last: layers keep tensors in its memory.
  return {"", [replay, network, optimizer, step] {
            network.model->set_step(0, static_cast<std::uint64_t>(optimizer->steps()));
            replay->run({network.images, network.labels}, step);
          }};
}

Case infer(std::istream& in, Where where) {
  Network network(in, where);
  network.model->eval();
  network.model->fold_batch_norm();
  network.model->to(where.device);
  return {"", [=] { (*network.model)(network.images); }};
}

Case make(const std::string& line, Where where) {
  std::istringstream in(line);
  in.exceptions(std::ios::failbit);
  std::string kind;
  in >> kind;
  if (kind == "depthwise") return depthwise(in, where);
  if (kind == "pointwise") return pointwise(in, where);
  if (kind == "train") return train(in, where);
  if (kind == "infer") return infer(in, where);
  throw UsageError("no case '" + kind + "'.");
}

// Until the device is done.
double milliseconds(const std::function<void()>& f, Device device) {
  const auto start = std::chrono::steady_clock::now();
  f();
  synchronize(device);
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

// A GPU works through a row of launches, as it does in training.
std::vector<double> run(const Case& current, int count, int uncounted, Device device) {
  for (int i = 0; i < uncounted; ++i) current.run();
  synchronize(device);
  if (!device.is_cpu()) {
    const auto row = [&] {
      for (int i = 0; i < count; ++i) current.run();
    };
    return {milliseconds(row, device) / count};
  }
  std::vector<double> times;
  for (int i = 0; i < count; ++i) times.push_back(milliseconds(current.run, device));
  return times;
}

std::string profile(const std::function<void()>& f, Device device) {
  Profile::enable(true);
  const double total = milliseconds(f, device);
  std::vector<std::pair<double, std::string>> entries = {{total, "total"}};
  for (const auto& [name, entry] : Profile::entries()) entries.emplace_back(entry.seconds * 1e3, name);
  Profile::enable(false);
  std::sort(entries.rbegin(), entries.rend());
  std::string line;
  for (const auto& [ms, name] : entries) line += str(line.empty() ? "" : ", ", name, ' ', ms);
  return line;
}

// GFLOP/s and GB/s.
std::pair<double, double> peak(Where where) {
  if (where.device.is_cpu()) return {peak_gflops(), copy_gigabytes()};
  constexpr std::int64_t kSide = 8192, kBytes = std::int64_t{1} << 31, kRuns = 10;
  std::istringstream product(str("forward ", kSide, ' ', kSide, ' ', kSide));
  const Case multiply = pointwise(product, where);
  const Tensor from = Tensor::zeros({kBytes}, DType::u8, where.device);
  Tensor to = Tensor::empty_like(from);
  const Case copy{"", [&] { to.copy_from(from); }};
  run(multiply, 1, 0, where.device), run(copy, 1, 0, where.device);
  return {2.0 * kSide * kSide * kSide / run(multiply, kRuns, 0, where.device)[0] / 1e6,
          2.0 * kBytes / run(copy, kRuns, 0, where.device)[0] / 1e6};
}

Where parse(int argc, char** argv) {
  Where where;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i], value = argv[i + 1];
    if (flag == "--threads") {
      set_num_threads(std::atoi(value.c_str()));
    } else if (flag == "--device") {
      where.device = value == "cuda" ? Device::cuda() : Device::cpu();
    } else if (flag == "--precision") {
      where.dtype = value == "bf16" ? DType::bf16 : DType::f32;
      set_precision(value == "tf32" ? Precision::tf32 : Precision::fp32);
    } else {
      throw UsageError("--threads, --device or --precision expected, got '" + flag + "'.");
    }
  }
  return where;
}

}  // namespace

int main(int argc, char** argv) try {
  const Where where = parse(argc, argv);
  Allocator& allocator = allocator_for(where.device);
  Case current;
  for (std::string line; std::getline(std::cin, line);) {
    if (line.starts_with("run ")) {
      int count = 1, uncounted = 0;
      std::istringstream(line.substr(4)) >> count >> uncounted;
      for (const double ms : run(current, count, uncounted, where.device)) std::cout << ms << ' ';
      std::cout << std::endl;
    } else if (line == "profile") {
      std::cout << profile(current.run, where.device) << std::endl;
    } else if (line == "peak") {
      const auto [gflops, gigabytes] = peak(where);
      std::cout << gflops << ' ' << gigabytes << std::endl;
    } else if (line == "memory") {
      std::cout << allocator.stats().peak / (1 << 20) << std::endl;
    } else {
      current = {};
      allocator.release_cached();
      current = make(line, where);
      allocator.reset_peak();
      std::cout << "ready " << current.about << std::endl;
    }
  }
  return 0;
} catch (const std::exception& e) {
  std::cerr << "bench_cases: " << e.what() << '\n';
  return 2;
}
