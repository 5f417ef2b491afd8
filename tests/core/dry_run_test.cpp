#include "core/dry_run.h"

#include <sys/resource.h>

#include <limits>

#include "core/dispatch.h"
#include "core/parallel.h"
#include "core/tensor.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

namespace {

std::int64_t most_resident_kilobytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

// Sets the number of threads for the length of a scope.
class Threads {
 public:
  explicit Threads(int threads) : before_(num_threads()) { set_num_threads(threads); }
  ~Threads() { set_num_threads(before_); }

 private:
  int before_;
};

}  // namespace

TEST_CASE("core/dry_run/counts what the allocator would count") {
  const auto work = [] {
    const Tensor a = Tensor::empty({1000});
    { const Tensor b = Tensor::zeros({77, 13}, DType::f64), c = b.clone(); }
    const Tensor d = Tensor::empty({3}), e = d.to(Device::cpu());
    return a;
  };
  Allocator& real = allocator_for(Device::cpu());
  const std::int64_t before = real.stats().in_use;
  real.reset_peak();
  const Tensor kept = work();
  const MemoryStats after = real.stats();
  DryRun dry;
  CHECK(DryRun::current() == &dry);
  CHECK(&allocator_for(Device::cpu()) == &dry.allocator(Device::cpu()));
  {
    const Tensor counted = work();
    CHECK(dry.stats(Device::cpu()).in_use == after.in_use - before);
    CHECK(dry.stats(Device::cpu()).peak == after.peak - before);
  }
  CHECK(dry.stats(Device::cpu()).in_use == 0);
  dry.reset_peak(Device::cpu());
  CHECK(dry.stats(Device::cpu()).peak == 0);
  CHECK(real.stats().in_use == after.in_use);
  check_error([] { const DryRun second; }, {"DryRun", "already"});
}

TEST_CASE("core/dry_run/takes neither memory nor time") {
  constexpr std::int64_t kMany = std::int64_t{1} << 38;  // a terabyte of floats
  const std::int64_t before = most_resident_kilobytes();
  DryRun dry;
  Tensor a = Tensor::zeros({kMany});
  a.fill(1);
  const Tensor b = a.clone();
  float* values = a.data<float>();
  parallel_for(kMany, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) values[i] += 1;
  });
  CHECK(dry.stats(Device::cpu()).in_use == 8 * kMany);
  CHECK(most_resident_kilobytes() - before < 100'000);
}

TEST_CASE("core/dry_run/counts scratch for every thread") {
  const Threads three(3);
  constexpr Device cpu;
  DryRun dry;
  std::int64_t in_use = -1;
  const auto body = [&](std::int64_t, std::int64_t) {
    const Tensor scratch = Tensor::empty({16});
    in_use = dry.stats(cpu).in_use;
  };
  parallel_for(100, 1, body);
  CHECK(in_use == 3 * 64);
  parallel_for(2, 1, body);  // as many pieces as there are
  CHECK(in_use == 2 * 64);
  parallel_for(0, 1, [&](std::int64_t, std::int64_t) { FAIL("nothing to do"); });
  std::int64_t item = -1;
  parallel_for_each(100, [&](std::int64_t i) {
    item = i;
    parallel_for(100, 1, body);  // on the calling thread
  });
  CHECK(item == 0);
  CHECK(in_use == 3 * 64);
  CHECK(dry.stats(cpu).in_use == 0);
  // What threads keep is counted once, and more when they keep more.
  parallel_for(2, 1, [&](std::int64_t, std::int64_t) { dry.keep_on_threads(64); });
  CHECK(dry.stats(cpu).in_use == 2 * 64);
  parallel_for(3, 1, [&](std::int64_t, std::int64_t) { dry.keep_on_threads(64); });
  CHECK(dry.stats(cpu).in_use == 3 * 64);
  dry.keep_on_threads(128);
  CHECK(dry.stats(cpu).in_use == 4 * 64);
}

TEST_CASE("core/dry_run/a GPU that is not there") {
  DryRun dry;
  const Tensor x = Tensor::zeros({100}, DType::bf16, Device::cuda());
  const Tensor y = x.to(Device::cpu());
  bool ran = false;
  dispatch(
      "test", x.device(), [&] { ran = true; }, [&] { ran = true; });
  CHECK_FALSE(ran);
  CHECK(dry.stats(Device::cuda()).in_use == 512);
  CHECK(dry.stats(Device::cpu()).in_use == 256);
}

TEST_CASE("core/allocator/limit") {
  CHECK(bytes_from_text("1000", "test") == 1000);
  CHECK(bytes_from_text("8K", "test") == 8 << 10);
  CHECK(bytes_from_text("1.5M", "test") == 3 << 19);
  CHECK(bytes_from_text("2GiB", "test") == std::int64_t{2} << 30);
  CHECK(bytes_from_text("1T", "test") == std::int64_t{1} << 40);
  for (const char* wrong : {"", "M", "-1M", "0", "12X", "12MM", "nan", "1e30", "12 monkeys", "iB"}) {
    INFO(wrong);
    check_error([&] { bytes_from_text(wrong, "REPLK_MEMORY_LIMIT"); }, {"REPLK_MEMORY_LIMIT", "800M", wrong});
  }
}
