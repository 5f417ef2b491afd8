#include "core/replay.h"

#include "core/allocator.h"
#include "core/profile.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"
#include "tests/support/cuda.h"

using namespace replk;
using namespace replk::test;

namespace {

const Device kCuda = Device::cuda();

Tensor numbers(std::vector<float> values) {
  return Tensor::of(values, {static_cast<std::int64_t>(values.size())});
}

}  // namespace

TEST_CASE("core/replay/on the CPU the function is called each time") {
  Replay replay;
  int calls = 0, runs = 0;
  for (int i = 1; i <= 4; ++i) {
    const auto out = replay.run({numbers({1}), Tensor()}, [&](const std::vector<Tensor>& in) {
      ++calls;
      before_each_run([&] { ++runs; });
      const Tensor renewed = renewed_each_run({2}, DType::f32, Device::cpu(), [&] {
        return numbers({static_cast<float>(runs), 5});
      });
      CHECK(!in[1].defined());
      return std::vector<Tensor>{renewed};
    });
    CHECK(out[0].to_vector() == Values{static_cast<double>(i), 5});
  }
  CHECK(calls == 4);
  CHECK(replay.size() == 0);
}

TEST_CASE("core/replay/a recording does on a GPU what the function did") {
  if (!cuda_or_skip("recordings")) return;
  Replay replay;
  int calls = 0, runs = 0;
  const Tensor state = Tensor::zeros({3}, DType::f32, kCuda);
  const auto f = [&](const std::vector<Tensor>& in) {
    ++calls;
    before_each_run([&] { ++runs; });
    {
      // Its memory is free again when the next tensor is made, whose numbers must not be lost in it.
      Tensor scratch = Tensor::zeros({3}, DType::f32, kCuda);
      scratch.fill(-1);
    }
    const Tensor renewed = renewed_each_run({3}, DType::f32, kCuda, [&] {
      return numbers({static_cast<float>(runs), 0, 1});
    });
    Tensor once = in[0].clone(), sum = renewed.clone(), kept = state;
    kept.copy_from(renewed);
    return std::vector<Tensor>{once, sum, Tensor()};
  };
  std::vector<std::vector<Tensor>> outs;
  std::vector<int> called;
  for (int i = 1; i <= 5; ++i) {
    outs.push_back(replay.run({numbers({static_cast<float>(i), 2, 3}).to(kCuda)}, f));
    called.push_back(calls);
    CHECK(runs == i);
    CHECK(state.to_vector() == Values{static_cast<double>(i), 0, 1});
  }
  CHECK(called == std::vector<int>{1, 2, 2, 2, 2});
  CHECK(replay.size() > 0);
  for (std::size_t i = 0; i < outs.size(); ++i) {  // later runs have not written over them
    CHECK(outs[i][0].to_vector() == Values{static_cast<double>(i + 1), 2, 3});
    CHECK(outs[i][1].to_vector() == Values{static_cast<double>(i + 1), 0, 1});
    CHECK(!outs[i][2].defined());
  }
  // Another shape is computed by the function, and the recording stays.
  const auto other = replay.run({numbers({7, 8, 9, 10}).to(kCuda)}, f);
  CHECK(other[0].to_vector() == Values{7, 8, 9, 10});
  CHECK(calls == 3);
  replay.run({numbers({1, 2, 3}).to(kCuda)}, f);
  CHECK(calls == 3);
}

TEST_CASE("core/replay/its memory is nobody else's until it ends") {
  if (!cuda_or_skip("a recording's memory")) return;
  Allocator& allocator = allocator_for(kCuda);
  const std::int64_t before = allocator.stats().in_use;
  {
    Replay replay;
    const auto f = [](const std::vector<Tensor>& in) {
      const Tensor a = in[0].clone(), b = a.clone();
      return std::vector<Tensor>{b};
    };
    const Tensor x = Tensor::full({1 << 16}, 3, DType::f32, kCuda);
    for (int i = 0; i < 2; ++i) replay.run({x}, f);
    std::vector<Tensor> others;
    for (int i = 0; i < 4; ++i) others.push_back(Tensor::full({1 << 16}, -1, DType::f32, kCuda));
    replay.run({x}, f);
    for (const Tensor& other : others) CHECK(other.to_vector() == Values(1 << 16, -1));
  }
  CHECK(allocator.stats().in_use == before);
}

TEST_CASE("core/replay/what cannot be recorded says so, and nothing is broken") {
  if (!cuda_or_skip("recordings")) return;
  const Tensor x = numbers({1, 2}).to(kCuda);
  const auto waits = [](const std::vector<Tensor>& in) {
    in[0].to_vector();
    return in;
  };
  {
    Replay replay;
    replay.run({x}, waits);
    check_error([&] { replay.run({x}, waits); }, {"cuda:0", "cpu", "cannot be recorded", "renewed_each_run"});
  }
  CHECK(x.clone().to_vector() == Values{1, 2});
  Replay replay;
  const auto fails = [](const std::vector<Tensor>& in) -> std::vector<Tensor> {
    in[0].clone();
    throw Error("on purpose");
  };
  check_error([&] { replay.run({x}, fails); }, {"on purpose"});
  check_error([&] { replay.run({x}, fails); }, {"on purpose"});
  int runs = 0;
  before_each_run([&] { ++runs; });
  CHECK(runs == 1);
  check_error([&] { replay.run({}, waits); }, {"Replay", "input expected"});
}

TEST_CASE("core/replay/nothing is recorded that does not leave room for others") {
  if (!cuda_or_skip("a recording's memory")) return;
  Allocator& allocator = allocator_for(kCuda);
  allocator.release_cached();
  const std::int64_t before = allocator.stats().in_use, capacity = allocator.capacity();
  const Tensor x = numbers({1, 2}).to(kCuda);
  for (const double share : {0.6, 1.5}) {
    Replay replay;
    int calls = 0;
    const auto f = [&](const std::vector<Tensor>& in) {
      const double bytes = ++calls == 2 ? share * static_cast<double>(capacity) : 1;
      std::vector<Tensor> parts;  // no allocator promises so much in one piece
      for (int i = 0; i < 32; ++i)
        parts.push_back(Tensor::empty({static_cast<std::int64_t>(bytes / 32)}, DType::u8, kCuda));
      return std::vector<Tensor>{in[0].clone()};
    };
    for (int i = 0; i < 3; ++i) CHECK(replay.run({x}, f)[0].to_vector() == Values{1, 2});
    CHECK(calls == 4);  // launched, tried to record, launched instead, and again
    CHECK(replay.size() == 0);
    INFO(replay.why_not());
    CHECK(replay.why_not().find(share < 1 ? "bytes of memory to itself" : "asked for") != std::string::npos);
  }
  allocator.release_cached();
  CHECK(allocator.stats().in_use == before + 512);
}

TEST_CASE("core/replay/a tensor that outlives its recording stays usable") {
  if (!cuda_or_skip("a recording's memory")) return;
  const Tensor x = numbers({1, 2}).to(kCuda);
  Tensor kept;
  {
    Replay replay;
    const auto f = [&](const std::vector<Tensor>& in) {
      kept = in[0].clone();
      return std::vector<Tensor>{kept};
    };
    for (int i = 0; i < 3; ++i) replay.run({x}, f);
  }
  std::vector<Tensor> others;
  for (int i = 0; i < 4; ++i) others.push_back(Tensor::full({2}, -1, DType::f32, kCuda));
  CHECK(kept.to_vector() == Values{1, 2});
}

TEST_CASE("core/replay/not where it was not asked for") {
  if (!cuda_or_skip("recordings")) return;
  int calls = 0;
  const auto f = [&](const std::vector<Tensor>& in) {
    ++calls;
    return in;
  };
  const Tensor x = numbers({1, 2}).to(kCuda);
  Replay forbidden(false), profiled;
  for (int i = 0; i < 3; ++i) forbidden.run({x}, f);
  CHECK(calls == 3);
  Profile::enable(true);
  for (int i = 0; i < 3; ++i) profiled.run({x}, f);
  Profile::enable(false);
  CHECK(calls == 6);
  CHECK(profiled.size() == 0);
}
