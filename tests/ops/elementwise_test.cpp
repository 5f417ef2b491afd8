// cast, add_into, all_finite: on the CPU, and with the same bits on a GPU.
#include "ops/primitives/elementwise.h"

#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/random.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"
#include "tests/support/cuda.h"
#include "tests/support/run_op.h"

using namespace replk;
using namespace replk::test;

namespace {

constexpr std::array kFloating = {DType::f32, DType::f64, DType::bf16, DType::f16};
constexpr std::array kAll = {DType::f32, DType::f64, DType::bf16, DType::f16, DType::u8, DType::i64};

// Random bits: every exponent, denormals, infinities, NaN; and what lies between two numbers of bf16 or f16.
Tensor all_kinds_of_floats(std::int64_t n) {
  Tensor x = Tensor::empty({n});
  Random random(9);
  for (std::int64_t i = 0; i < n; ++i) {
    std::uint32_t bits = random.next();
    if (i % 4 == 1) bits = (bits & 0xffff0000u) | 0x8000u;  // a tie for bf16
    if (i % 4 == 2) bits = (bits & 0xffffe000u) | 0x1000u;  // a tie for f16
    if (i % 4 == 3)
      bits = (bits & 0x80ffffffu) | ((96u + i % 48) << 23);  // where f16 lives, and its denormals
    std::memcpy(x.data<float>() + i, &bits, 4);
  }
  return x;
}

// Equal, or both NaN: which NaN is not said.
bool same_numbers(const Values& a, const Values& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (a[i] != b[i] && !(std::isnan(a[i]) && std::isnan(b[i]))) {
      INFO("element " << i << ": " << a[i] << " against " << b[i]);
      CHECK(a[i] == b[i]);
      return false;
    }
  return true;
}

}  // namespace

TEST_CASE("ops/elementwise/cast on CUDA rounds as the CPU does") {
  if (!cuda_or_skip("cast")) return;
  const Tensor floats = all_kinds_of_floats(1 << 18);
  for (const DType from : kFloating)
    for (const DType to : kFloating) {
      const Tensor x = cast(floats, from);
      INFO(from << " to " << to);
      CHECK(same_numbers(cast(x.to(Device::cuda()), to).to_vector(), cast(x, to).to_vector()));
    }
  for (const DType from : kAll)
    for (const DType to : kAll)
      for (const std::int64_t n : {1, 7, 1000}) {
        const Tensor x = cast(random_tensor({n}, 4, 0, 100), from);
        INFO(from << " to " << to << ", " << n << " elements");
        CHECK(cast(x.to(Device::cuda()), to).to_vector() == cast(x, to).to_vector());
        // From and to memory that is not aligned.
        CHECK(cast(x.to(Device::cuda()).slice(n > 1, n), to).to_vector() ==
              cast(x.slice(n > 1, n), to).to_vector());
      }
}

TEST_CASE("ops/elementwise/add_into on CUDA") {
  if (!cuda_or_skip("add_into")) return;
  for (const DType dtype : kFloating)
    for (const std::int64_t n : {0, 1, 5, 4097, 100000})
      for (const bool accumulate : {false, true}) {
        INFO(dtype << ", " << n << " elements, accumulate " << accumulate);
        const Tensor x = random_tensor({n}, 1, -1, 1, dtype), before = random_tensor({n}, 2, -1, 1, dtype);
        const Tensor got = before.to(Device::cuda());
        add_into({got, accumulate}, x.to(Device::cuda()));
        Values expected = x.to_vector();
        const Values base = before.to_vector();
        for (std::size_t i = 0; i < expected.size() && accumulate; ++i) expected[i] += base[i];
        // One rounding of the exact sum, in f32 two.
        const Tensor rounded =
            cast(cast(Tensor::of(expected, {n}), dtype == DType::f64 ? DType::f64 : DType::f32), dtype);
        CHECK(got.to_vector() == rounded.to_vector());
      }
}

TEST_CASE("ops/elementwise/all_finite") {
  const auto check_on = [](Device device) {
    for (const DType dtype : kFloating) {
      if (device.is_cpu() && dtype != DType::f32 && dtype != DType::f64) continue;
      for (const std::int64_t n : {1, 30, 4097, 1 << 20}) {
        INFO(dtype << ", " << n << " elements on " << device);
        const Tensor x = random_tensor({n}, 1, -1, 1, dtype);
        CHECK(all_finite(x.to(device)));
        for (const double bad : {std::numeric_limits<double>::infinity(), std::nan("")})
          for (const std::int64_t place : {std::int64_t{0}, n / 2, n - 1}) {
            Tensor y = x.to(device).clone();
            y.slice(place, place + 1).fill(bad);
            CHECK_FALSE(all_finite(y));
          }
      }
    }
  };
  check_on(Device::cpu());
  if (cuda_or_skip("all_finite")) check_on(Device::cuda());
}
