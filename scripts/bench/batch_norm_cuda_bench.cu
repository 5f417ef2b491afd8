// Times batch_norm2d on the GPU over the shapes of RepLKNet-31B and replknet-tiny (or those given): two
// sweeps over memory beside the channel staying on the chip. The floor is a copy of a tensor of that shape
// for forward (x read, y written), and one and a half of them for backward (x and dy read, dx written).
// Tensors change from call to call, so that none is found in a cache; the calls are those of a CUDA graph, so
// that the host does not count.
//
//   bench_batch_norm_cuda [--dtype f32|bf16|f16] [--activation none|relu|gelu] [--blocks] [C SIDE BATCH]...
//
// --blocks: also every number of blocks to a channel.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "core/cuda/check.h"
#include "core/cuda/runtime.h"
#include "ops/batch_norm2d/batch_norm2d.h"
#include "ops/primitives/elementwise.h"

using namespace replk;

namespace {

// Milliseconds of one call f(i) in a row of them, i counting them: the median of several rows.
double milliseconds(const std::function<void(int)>& f) {
  using Clock = std::chrono::steady_clock;
  constexpr int kRows = 7, kCalls = 24;
  const auto all = [&] {
    for (int call = 0; call < kCalls; ++call) f(call);
  };
  all();  // takes the memory that a graph may not ask for
  const cudaStream_t stream = cuda::compute_stream();
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t ready = nullptr;
  cuda::check_call(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "cudaStreamBeginCapture");
  all();
  cuda::check_call(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
  cuda::check_call(cudaGraphInstantiate(&ready, graph, 0), "cudaGraphInstantiate");
  std::vector<double> times;
  for (int row = -1; row < kRows; ++row) {
    const auto start = Clock::now();
    cuda::check_call(cudaGraphLaunch(ready, stream), "cudaGraphLaunch");
    synchronize(Device::cuda());
    if (row >= 0)
      times.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count() / kCalls);
  }
  cudaGraphExecDestroy(ready);
  cudaGraphDestroy(graph);
  std::nth_element(times.begin(), times.begin() + kRows / 2, times.end());
  return times[kRows / 2];
}

class Bench {
 public:
  Bench(const Shape& shape, DType dtype, Activation activation)
      : g_{shape[0], shape.numel() / shape[0]}, params_{.activation = activation} {
    constexpr std::int64_t kLargeBytes = 400 << 20;  // several times a large GPU's cache
    const Tensor one = Tensor::full(shape, 0.5, dtype, Device::cuda());
    const std::int64_t sets =
        std::clamp<std::int64_t>(kLargeBytes / static_cast<std::int64_t>(3 * one.bytes()), 1, 24);
    for (auto* tensors : {&x_, &y_, &dx_})
      for (std::int64_t i = 0; i < sets; ++i) tensors->push_back(one.clone());
    for (Tensor* t :
         {&weight_, &bias_, &mean_, &inverse_std_, &running_mean_, &running_var_, &dweight_, &dbias_})
      *t = Tensor::full({shape[0]}, 1, DType::f32, Device::cuda());
  }

  double copy() {
    return milliseconds([&](int i) { of(y_, i).copy_from(of(x_, i)); });
  }
  double forward(BatchNorm2dKernel kernel, int blocks = 0) {
    params_.kernel = kernel, params_.blocks_per_channel = blocks;
    return milliseconds([&](int i) {
      cuda::batch_norm2d_forward_training(g_, of(x_, i), weight_, bias_, params_, mean_, inverse_std_,
                                          running_mean_, running_var_, of(y_, i));
    });
  }
  double backward(BatchNorm2dKernel kernel, int blocks = 0) {
    params_.kernel = kernel, params_.blocks_per_channel = blocks;
    return milliseconds([&](int i) {
      cuda::batch_norm2d_backward(g_, {of(x_, i), weight_, bias_, mean_, inverse_std_}, params_, of(y_, i),
                                  {{of(dx_, i)}, {dweight_}, {dbias_}});
    });
  }

 private:
  static Tensor& of(std::vector<Tensor>& tensors, int i) {
    return tensors[static_cast<std::size_t>(i) % tensors.size()];
  }

  BatchNorm2dGeometry g_;
  BatchNorm2dParams params_;
  std::vector<Tensor> x_, y_, dx_;  // y is dy in backward
  Tensor weight_, bias_, mean_, inverse_std_, running_mean_, running_var_, dweight_, dbias_;
};

void print_blocks(Bench& bench) {
  for (const int blocks : {1, 2, 4, 8, 16}) {
    const auto try_it = [&](auto pass) {
      try {
        std::printf(" %8.4f", (bench.*pass)(BatchNorm2dKernel::on_chip, blocks));
      } catch (const Error&) {
        std::printf("        -");
      }
    };
    std::printf("    %2d blocks           ", blocks);
    try_it(&Bench::forward);
    std::printf("                          ");
    try_it(&Bench::backward);
    std::printf("\n");
  }
}

}  // namespace

int main(int argc, char** argv) try {
  DType dtype = DType::bf16;
  Activation activation = Activation::none;
  bool every = false;
  std::vector<std::int64_t> numbers;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i], next = i + 1 < argc ? argv[i + 1] : "";
    if (word == "--dtype")
      dtype = next == "f32" ? DType::f32 : next == "f16" ? DType::f16 : DType::bf16, ++i;
    else if (word == "--activation")
      activation = next == "gelu"   ? Activation::gelu
                   : next == "relu" ? Activation::relu
                                    : Activation::none,
      ++i;
    else if (word == "--blocks")
      every = true;
    else
      numbers.push_back(std::atoll(word.c_str()));
  }
  if (numbers.empty()) {
    numbers = {128, 112, 64, 128, 56,   64, 512, 56,   64, 256, 28,   64, 1024, 28,
               64,  512, 14, 64,  2048, 14, 64,  1024, 7,  64,  4096, 7,  64};
    for (const std::int64_t c : {32, 64, 128, 256})
      for (const std::int64_t side : {14, 7}) numbers.insert(numbers.end(), {c, side, 128});
  }
  std::printf("%s, activation %s; ms; %%: of the speed of a copy\n", str(dtype).c_str(), name_of(activation));
  std::printf(
      "    C side batch    copy  forward: two sweeps    on chip         backward: two sweeps    on chip\n");
  for (std::size_t i = 0; i + 3 <= numbers.size(); i += 3) {
    const std::int64_t c = numbers[i], side = numbers[i + 1], n = numbers[i + 2];
    Bench bench({c, n, side, side}, dtype, activation);
    const double copy = bench.copy();
    const double forward[] = {bench.forward(BatchNorm2dKernel::two_sweeps),
                              bench.forward(BatchNorm2dKernel::automatic)};
    const double backward[] = {bench.backward(BatchNorm2dKernel::two_sweeps),
                               bench.backward(BatchNorm2dKernel::automatic)};
    std::printf("%5ld %4ld %4ld %8.4f", c, side, n, copy);
    for (const double ms : forward) std::printf(" %8.4f (%3.0f%%)", ms, 100 * copy / ms);
    std::printf("  ");
    for (const double ms : backward) std::printf(" %8.4f (%3.0f%%)", ms, 150 * copy / ms);
    std::printf("\n");
    if (every) print_blocks(bench);
    std::fflush(stdout);
  }
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "bench_batch_norm_cuda: %s\n", e.what());
  return 2;
}
