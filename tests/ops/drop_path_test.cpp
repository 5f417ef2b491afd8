#include "ops/drop_path/drop_path.h"

#include <cmath>
#include <limits>

#include "core/parallel.h"
#include "core/random.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"
#include "tests/support/cuda.h"

using namespace replk;
using namespace replk::test;

namespace {

// By definition, from the first of the four words at (seed, stream, first_sample + n).
Values by_definition(const Values& x, const Shape& shape, const DropPathParams& params) {
  Values y(x.size());
  const std::int64_t plane = shape[2] * shape[3];
  for (std::int64_t c = 0, i = 0; c < shape[0]; ++c)
    for (std::int64_t n = 0; n < shape[1]; ++n) {
      const auto words =
          philox(params.seed, params.stream, static_cast<std::uint64_t>(params.first_sample + n));
      const bool keep = static_cast<double>(words[0] >> 8) / 16777216.0 >= params.probability;
      for (std::int64_t j = 0; j < plane; ++j, ++i)
        y[static_cast<std::size_t>(i)] = keep ? x[static_cast<std::size_t>(i)] / (1 - params.probability) : 0;
    }
  return y;
}

OpCase drop_case(const Shape& shape, DropPathParams params) {
  return {.name = str("drop_path ", shape, " p ", params.probability),
          .inputs = {random_tensor(shape, 1)},
          .op = [=](const auto& in) { return drop_path(in[0], params); },
          .reference = [=](const auto& in) { return by_definition(in[0], shape, params); },
          .linear_in = {0}};
}

OpCase drop_add_case(const Shape& shape, DropPathParams params) {
  return {.name = str("drop_path_add ", shape, " p ", params.probability),
          .inputs = {random_tensor(shape, 1), random_tensor(shape, 2)},
          .op = [=](const auto& in) { return drop_path_add(in[0], in[1], params); },
          .reference =
              [=](const auto& in) {
                DropPathParams effective = params;
                if (!params.training) effective.probability = 0;
                Values y = by_definition(in[1], shape, effective);
                for (std::size_t i = 0; i < y.size(); ++i) y[i] += in[0][i];
                return y;
              }};
}

// The factors of n samples as drop_path applies them.
Values factors(std::int64_t n, DropPathParams params) {
  return drop_path(Tensor::full({1, n, 1, 1}, 1, DType::f64), params).data().to_vector();
}

}  // namespace

TEST_CASE("ops/drop_path/check_op") {
  check_op(drop_case({6, 8, 4, 5}, {.probability = 0.5, .seed = 3, .stream = 9}));
  check_op(drop_case({1, 1, 1, 1}, {.probability = 0.3, .seed = 4}));
  check_op(drop_case({1, 13, 7, 3}, {.probability = 0.1, .stream = 2, .first_sample = 5}));
  check_op(drop_case({5, 1, 3, 3}, {.probability = 0.9}));
  check_op(drop_case({32, 16, 17, 13}, {.probability = 0.7, .seed = 1}));
}

TEST_CASE("ops/drop_path/check_op_add") {
  check_op(drop_add_case({6, 8, 4, 5}, {.probability = 0.5, .seed = 3, .stream = 9}));
  check_op(drop_add_case({1, 13, 7, 3}, {.probability = 0.1, .stream = 2, .first_sample = 5}));
  check_op(drop_add_case({5, 1, 3, 3}, {.probability = 0.9}));
  check_op(drop_add_case({3, 4, 5, 2}, {.probability = 0}));
  check_op(drop_add_case({3, 4, 5, 2}, {.probability = 0.5, .training = false}));
  check_op(drop_add_case({32, 16, 17, 13}, {.probability = 0.7, .seed = 1}));
}

TEST_CASE("ops/drop_path/identity") {
  const Tensor x = random_tensor({2, 3, 4, 5}, 1);
  Tape tape;
  const Variable watched = tape.watch(x);
  for (const DropPathParams& params :
       {DropPathParams{.probability = 0.5, .training = false}, DropPathParams{.probability = 0}})
    CHECK(drop_path(watched, params).data().shares_storage(x));
  CHECK(tape.size() == 0);
  tape.backward(drop_path(watched, DropPathParams{}), x);  // it is still the watched leaf
  CHECK(tape.gradient(watched).to_vector() == x.to_vector());
}

TEST_CASE("ops/drop_path/keep_rate") {
  for (const double p : {0.05, 0.3, 0.5, 0.9}) {
    const std::int64_t n = 100000;
    std::int64_t kept = 0;
    for (const double f : factors(n, {.probability = p, .seed = 17, .stream = 4})) {
      REQUIRE((f == 0 || f == Approx(1 / (1 - p)).epsilon(1e-15)));
      kept += f != 0;
    }
    const double deviation = std::sqrt(static_cast<double>(n) * p * (1 - p));
    CHECK(std::abs(static_cast<double>(kept) - static_cast<double>(n) * (1 - p)) <= 5 * deviation);
  }
}

TEST_CASE("ops/drop_path/seed_and_stream_matter") {
  const Values base = factors(256, {.probability = 0.5, .seed = 1, .stream = 1});
  CHECK(base == factors(256, {.probability = 0.5, .seed = 1, .stream = 1}));
  CHECK(base != factors(256, {.probability = 0.5, .seed = 2, .stream = 1}));
  CHECK(base != factors(256, {.probability = 0.5, .seed = 1, .stream = 2}));
}

TEST_CASE("ops/drop_path/batch_in_parts") {
  DropPathParams params{.probability = 0.4, .seed = 8, .stream = 3, .first_sample = 100};
  const Values whole = factors(50, params);
  const Values first = factors(21, params);
  params.first_sample += 21;
  Values parts = first;
  const Values second = factors(29, params);
  parts.insert(parts.end(), second.begin(), second.end());
  CHECK(parts == whole);
}

TEST_CASE("ops/drop_path/same_for_any_number_of_threads") {
  const Tensor x = random_tensor({16, 31, 13, 11}, 1);
  const DropPathParams params{.probability = 0.4, .seed = 8};
  const int before = num_threads();
  set_num_threads(1);
  const Values one = drop_path(x, params).data().to_vector();
  for (const int threads : {2, 3, 8}) {
    set_num_threads(threads);
    CHECK(drop_path(x, params).data().to_vector() == one);
  }
  set_num_threads(before);
}

TEST_CASE("ops/drop_path/dropped_nan_is_gone") {
  const Tensor x = Tensor::full({2, 64, 1, 3}, std::numeric_limits<double>::quiet_NaN(), DType::f64);
  const Values y = drop_path(x, {.probability = 0.5}).data().to_vector(),
               kept = factors(64, {.probability = 0.5});
  for (std::size_t i = 0; i < y.size(); ++i) CHECK(std::isnan(y[i]) == (kept[i / 3 % 64] != 0));
  const Tensor one = Tensor::full(x.shape(), 1, DType::f64);
  const Values sum = drop_path_add(one, x, {.probability = 0.5}).data().to_vector();
  for (std::size_t i = 0; i < sum.size(); ++i)
    CHECK((kept[i / 3 % 64] != 0 ? std::isnan(sum[i]) : sum[i] == 1));
}

TEST_CASE("ops/drop_path/the mask on CUDA is that of the CPU") {
  if (!cuda_or_skip("drop_path's mask")) return;
  for (const std::int64_t n : {1, 1000, 70001})
    for (const double p : {0.05, 0.5, 0.9}) {
      const DropPathParams params{.probability = p, .seed = 17, .stream = 4, .first_sample = 3};
      const Tensor ones = Tensor::full({1, n, 1, 1}, 1, DType::f64, Device::cuda());
      CHECK(drop_path(ones, params).data().to_vector() == factors(n, params));
    }
}

TEST_CASE("ops/drop_path/errors") {
  const Tensor x = random_tensor({3, 2, 4, 4}, 1);
  check_error([&] { drop_path(x, {.probability = 1}); }, {"drop_path", "[0, 1)", "1"});
  check_error([&] { drop_path(x, {.probability = -0.1}); }, {"drop_path", "[0, 1)", "-0.1"});
  check_error([&] { drop_path(x, {.probability = std::nan("")}); }, {"drop_path", "[0, 1)", "nan"});
  check_error([&] { drop_path(x, {.first_sample = -1}); }, {"drop_path", "first_sample", "-1"});
  check_error(
      [&] {
        drop_path(random_tensor({3, 2}, 1), DropPathParams{});
      },
      {"drop_path", "(C, N, H, W)", "(3, 2)"});
  check_error(
      [&] {
        drop_path_add(random_tensor({3, 2, 4, 5}, 1), x, DropPathParams{});
      },
      {"drop_path_add", "(3, 2, 4, 5)", "(3, 2, 4, 4)"});
}
