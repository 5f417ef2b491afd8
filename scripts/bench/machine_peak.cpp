#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "scripts/bench/machine_peak.cpp"

#include "scripts/bench/machine_peak.h"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include "core/parallel.h"
#include "core/tensor.h"
#include "ops/primitives/simd_targets.h"

HWY_BEFORE_NAMESPACE();
namespace replk::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

// Operations done by `rounds` rounds: enough independent sums to hide the latency of every unit.
double multiply_add(long rounds) {
  constexpr hn::ScalableTag<float> d;
  constexpr int kSums = 12;
  const auto factor = hn::Set(d, 0.999f);
  hn::Vec<decltype(d)> sum[kSums];
#pragma GCC unroll 12
  for (int i = 0; i < kSums; ++i) sum[i] = hn::Set(d, 1.0f + static_cast<float>(i));
  for (long round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) sum[i] = hn::MulAdd(sum[i], factor, factor);
  }
  auto total = sum[0];
#pragma GCC unroll 12
  for (int i = 1; i < kSums; ++i) total = hn::Add(total, sum[i]);
  // A use that the compiler cannot foresee, so that the sums are computed at all.
  static std::atomic<float> sink;
  sink = hn::GetLane(total);
  return 2.0 * kSums * static_cast<double>(hn::Lanes(d)) * static_cast<double>(rounds);
}

}  // namespace
}  // namespace replk::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace replk {
namespace {

HWY_EXPORT(multiply_add);

using Clock = std::chrono::steady_clock;

// The best of several runs: a limit is what the machine can do when nothing disturbs it.
template <class F>
double best_seconds(const F& f) {
  double best = 1e30;
  for (int run = 0; run < 7; ++run) {
    const auto start = Clock::now();
    f();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

}  // namespace

double peak_gflops() {
  constexpr long kRounds = 2'000'000;
  std::atomic<double> operations = 0;
  const double seconds = best_seconds([&] {
    operations = 0;
    parallel_for_each(num_threads(), [&](std::int64_t) {
      operations.fetch_add(HWY_DYNAMIC_DISPATCH(multiply_add)(kRounds));
    });
  });
  return operations / seconds / 1e9;
}

double copy_gigabytes() {
  const std::int64_t bytes = std::int64_t{1} << 28;
  const Tensor from = Tensor::zeros({bytes}, DType::u8);
  Tensor to = Tensor::zeros({bytes}, DType::u8);
  const double seconds = best_seconds([&] {
    parallel_for(bytes, 1 << 16, [&](std::int64_t begin, std::int64_t end) {
      std::memcpy(to.data<std::uint8_t>() + begin, from.data<std::uint8_t>() + begin,
                  static_cast<std::size_t>(end - begin));
    });
  });
  return 2.0 * static_cast<double>(bytes) / seconds / 1e9;
}

}  // namespace replk
#endif  // HWY_ONCE
