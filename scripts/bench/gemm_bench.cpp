// GFLOP/s of gemm beside Eigen's, over the 1x1 convolutions of RepLKNet-31B at 224x224 and of small networks.
//
//   bench_gemm [--threads=T] [Google Benchmark's flags, e.g. --benchmark_filter=31b/.*/dw]
//
// Names: network/channels out x channels in x pixels/which of Y = W X, dX = W^T dY, dW = dY X^T/whose kernel.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

#include "core/parallel.h"
#include "core/random.h"
#include "ops/primitives/gemm.h"

using namespace replk;

namespace {

struct Product {
  const char* network;
  std::int64_t out, in, pixels;
};

constexpr Product kProducts[] = {
    {"small", 64, 64, 12544},        {"small", 256, 64, 12544},       {"small", 64, 256, 12544},
    {"small", 32, 32, 25088},        {"31b", 128, 128, 12544},        {"31b", 512, 128, 12544},
    {"31b", 128, 512, 12544},        {"31b", 256, 256, 3136},         {"31b", 1024, 256, 3136},
    {"31b", 256, 1024, 3136},        {"31b", 512, 512, 784},          {"31b", 2048, 512, 784},
    {"31b", 512, 2048, 784},         {"31b", 1024, 1024, 196},        {"31b", 4096, 1024, 196},
    {"31b", 1024, 4096, 196},        {"31b_batch8", 512, 2048, 1568}, {"31b_batch8", 512, 512, 1568},
    {"31b_batch8", 128, 512, 25088}, {"logits", 128, 10, 256},
};

enum class Pass { y, dx, dw };

std::vector<float> random_values(std::int64_t count, std::uint64_t seed) {
  std::vector<float> values(static_cast<std::size_t>(count));
  Random random(seed, 0);
  for (float& value : values) value = static_cast<float>(random.uniform(-1, 1));
  return values;
}

// Of one thread the time it ran, so that other programs disturb less; of several the time that passed.
double seconds() {
  timespec now;
  clock_gettime(num_threads() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

void run(benchmark::State& state, Product p, Pass pass, bool eigen) {
  const std::vector<float> weight = random_values(p.out * p.in, 1), x = random_values(p.in * p.pixels, 2),
                           dy = random_values(p.out * p.pixels, 3);
  const auto m = pass == Pass::dx ? p.in : p.out, n = pass == Pass::dw ? p.in : p.pixels;
  const auto k = pass == Pass::y ? p.in : pass == Pass::dx ? p.out : p.pixels;
  const cpu::Matrix<const float> a = pass == Pass::dw
                                         ? cpu::Matrix<const float>{dy.data(), p.pixels}
                                         : cpu::Matrix<const float>{weight.data(), p.in, pass == Pass::dx};
  const cpu::Matrix<const float> b{pass == Pass::dx ? dy.data() : x.data(), p.pixels, pass == Pass::dw};
  std::vector<float> result(static_cast<std::size_t>(m * n));
  double best = 1e30;
  for (auto _ : state) {
    const double start = seconds();
    if (eigen)
      cpu::gemm_eigen<float>(m, n, k, a, b, {result.data(), n}, false);
    else
      cpu::gemm(m, n, k, a, b, {result.data(), n}, false);
    benchmark::ClobberMemory();
    best = std::min(best, seconds() - start);
  }
  const double gflop = 2e-9 * static_cast<double>(m * n * k);
  state.counters["GFLOP/s"] = benchmark::Counter(gflop, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["best"] = gflop / best;
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  for (int i = 1; i < argc; ++i)
    if (std::strncmp(argv[i], "--threads=", 10) == 0) set_num_threads(std::atoi(argv[i] + 10));
  for (const Product& p : kProducts)
    for (const Pass pass : {Pass::y, Pass::dx, Pass::dw})
      for (const bool eigen : {false, true}) {
        const std::string name = std::string(p.network) + '/' + std::to_string(p.out) + 'x' +
                                 std::to_string(p.in) + 'x' + std::to_string(p.pixels) +
                                 (pass == Pass::y    ? "/y"
                                  : pass == Pass::dx ? "/dx"
                                                     : "/dw") +
                                 (eigen ? "/eigen" : "/ours");
        benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
          run(state, p, pass, eigen);
        })->UseRealTime();
      }
  benchmark::RunSpecifiedBenchmarks();
}
