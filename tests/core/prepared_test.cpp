#include "core/prepared.h"

#include "tests/support/catch.h"

using namespace replk;

TEST_CASE("core/prepared/computes again when the source may have changed") {
  Tensor weight = Tensor::full({4, 2}, 1);
  Prepared prepared;
  int computed = 0;
  const auto total = [&](const Tensor& source, std::int64_t form) {
    return prepared
        .get(source, {form},
             [&] {
               ++computed;
               double sum = 0;
               for (const double value : source.to_vector()) sum += value;
               return Tensor::full({1}, sum * static_cast<double>(form));
             })
        .item();
  };
  REQUIRE(total(weight, 1) == 8);
  REQUIRE(total(weight, 1) == 8);
  REQUIRE(computed == 1);

  SECTION("written through a pointer") {
    weight.data<float>()[3] = 5;
    REQUIRE(total(weight, 1) == 12);
  }
  SECTION("written through a tensor that shares the storage") {
    weight.slice(1, 2).fill(3);
    REQUIRE(total(weight, 1) == 12);
  }
  SECTION("copied into") {
    weight.copy_from(Tensor::full({4, 2}, 2));
    REQUIRE(total(weight, 1) == 16);
  }
  SECTION("another form") { REQUIRE(total(weight, 2) == 16); }
  SECTION("another part of the same storage") {
    const Tensor half = weight.slice(2, 4);
    REQUIRE(total(weight.slice(0, 2), 1) == 4);
    weight.slice(0, 1).fill(0);
    REQUIRE(total(half, 1) == 4);
  }
  SECTION("another tensor at the same address") {
    weight = Tensor();
    weight = Tensor::full({4, 2}, 2);
    REQUIRE(total(weight, 1) == 16);
  }
}

TEST_CASE("core/tensor/reading does not change the version") {
  Tensor x = Tensor::zeros({3});
  const auto before = x.version();
  REQUIRE(before != 0);
  (void)std::as_const(x).data<float>();
  (void)x.to_vector();
  (void)x.view({3, 1}).version();
  REQUIRE(x.version() == before);
  (void)x.data<float>();
  REQUIRE(x.version() != before);
  REQUIRE(Tensor().version() == 0);
}
