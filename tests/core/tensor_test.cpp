#include "core/tensor.h"

#include <cmath>
#include <limits>

#include "core/allocator.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

TEST_CASE("core/shape/extents_and_errors") {
  const Shape shape{2, 3, 4};
  CHECK(shape.rank() == 3);
  CHECK(shape.numel() == 24);
  CHECK(str(shape) == "(2, 3, 4)");
  CHECK(Shape{}.numel() == 1);
  CHECK(Shape{3, 0}.numel() == 0);
  CHECK(shape != Shape{2, 3});
  check_error([] { Shape{1, 2, 3, 4, 5, 6}; }, {"at most 5"});
  check_error([] { Shape{2, -1}; }, {"negative", "axis 1", "-1"});
  check_error([] { Shape{std::int64_t{1} << 40, std::int64_t{1} << 40}; }, {"2^62"});
  check_error([&] { shape[3]; }, {"axis 3", "(2, 3, 4)"});
}

TEST_CASE("core/tensor/views_share_storage") {
  Tensor x = Tensor::of(std::vector<float>{1, 2, 3, 4, 5, 6}, {3, 2});
  const Tensor rows = x.slice(1, 3), flat = x.view({6});
  CHECK(rows.to_vector() == Values{3, 4, 5, 6});
  CHECK(rows.shares_storage(x));
  x.data<float>()[2] = 30;
  CHECK(rows.to_vector()[0] == 30);
  CHECK(flat.to_vector()[2] == 30);
  const Tensor copy = x.clone();
  CHECK_FALSE(copy.shares_storage(x));
  CHECK(copy.unique());
  CHECK_FALSE(x.unique());
}

TEST_CASE("core/tensor/errors") {
  const Tensor x = Tensor::zeros({2, 3});
  check_error([&] { x.view({7}); }, {"(2, 3)", "6", "(7)"});
  check_error([&] { x.slice(1, 3); }, {"slice", "[1, 3)", "(2, 3)"});
  check_error([&] { x.item(); }, {"item", "(2, 3)"});
  check_error([&] { x.data<double>(); }, {"f32", "f64"});
  check_error(
      [&] {
        Tensor(x).copy_from(Tensor::zeros({3, 2}));
      },
      {"f32 (2, 3) on cpu", "f32 (3, 2) on cpu"});
  check_error([] { Tensor::of(std::vector<float>{1, 2}, {3}); }, {"3 elements", "got 2"});
  check_error([] { Tensor::empty({1000, 1000, 1000, 1000, 100}); }, {"memory", "bytes"});
  if (!kHasCuda) check_error([] { Tensor::zeros({1}, DType::f32, Device::cuda()); }, {"cuda:0"});
}

TEST_CASE("core/tensor/empty_and_scalar") {
  CHECK_FALSE(Tensor().defined());
  CHECK(Tensor::zeros({0, 4}).defined());
  CHECK(Tensor::full({}, 2.5).item() == 2.5);
}

TEST_CASE("core/dtype/bf16_rounds_to_nearest_even") {
  for (const float exact : {0.0f, 1.0f, -2.5f, 3.0e38f * 0 + 256.0f})
    CHECK(static_cast<float>(bf16(exact)) == exact);
  CHECK(static_cast<float>(bf16(1.0f + 0x1p-8f)) == 1.0f);                // a tie: to even
  CHECK(static_cast<float>(bf16(1.0f + 3 * 0x1p-8f)) == 1.0f + 0x1p-6f);  // a tie: to even
  CHECK(static_cast<float>(bf16(1.0f + 0x1p-8f + 0x1p-20f)) == 1.0f + 0x1p-7f);
  CHECK(std::isnan(static_cast<float>(bf16(std::numeric_limits<float>::quiet_NaN()))));
  CHECK(std::isinf(static_cast<float>(bf16(std::numeric_limits<float>::max()))));
}

TEST_CASE("core/dtype/f16_every_value_survives_the_round_trip") {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    f16 half;
    half.bits = static_cast<std::uint16_t>(bits);
    const float value = static_cast<float>(half);
    if (std::isnan(value)) {
      CHECK(std::isnan(static_cast<float>(f16(value))));
    } else if (f16(value).bits != bits) {
      FAIL("bits " << bits << " became " << f16(value).bits);
    }
  }
  CHECK(static_cast<float>(f16(65520.0f)) == std::numeric_limits<float>::infinity());
  CHECK(static_cast<float>(f16(65519.0f)) == 65504.0f);
  CHECK(static_cast<float>(f16(1.0f + 0x1p-11f)) == 1.0f);  // a tie: to even
  CHECK(static_cast<float>(f16(0x1p-25f)) == 0.0f);         // a tie with the smallest subnormal: to even
  CHECK(static_cast<float>(f16(1.5f * 0x1p-25f)) == 0x1p-24f);
}

TEST_CASE("core/allocator/reuses_and_counts") {
  Allocator& allocator = allocator_for(Device::cpu());
  const MemoryStats before = allocator.stats();
  const void* first;
  {
    const Tensor x = Tensor::empty({1 << 20});
    first = x.raw();
    CHECK(reinterpret_cast<std::uintptr_t>(first) % 64 == 0);
    CHECK(allocator.stats().in_use - before.in_use >= 4 << 20);
  }
  CHECK(allocator.stats().in_use == before.in_use);
  CHECK(Tensor::empty({1 << 20}).raw() == first);
  allocator.release_cached();
  CHECK(allocator.stats().cached == 0);
  allocator.reset_peak();
  CHECK(allocator.stats().peak == allocator.stats().in_use);
}
