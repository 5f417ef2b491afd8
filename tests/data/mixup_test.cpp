#include "data/mixup.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/error.h"
#include "tests/data/data_support.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

namespace {

Tensor random_batch(std::int64_t n, std::int64_t height, std::int64_t width, std::int64_t channels) {
  Tensor images = Tensor::empty({n, height, width, channels}, DType::u8);
  const Bytes bytes = random_bytes(images.numel(), 5);
  std::copy(bytes.begin(), bytes.end(), images.data<std::uint8_t>());
  return images;
}

struct Moments {
  double mean, variance;
};

Moments moments(const std::vector<double>& values) {
  double sum = 0, squares = 0;
  for (const double v : values) sum += v, squares += v * v;
  const double mean = sum / static_cast<double>(values.size());
  return {mean, squares / static_cast<double>(values.size()) - mean * mean};
}

constexpr MixParams kPublished{.mixup = 0.8, .cutmix = 1};

}  // namespace

TEST_CASE("data/mixup/beta") {
  for (const double alpha : {0.05, 0.4, 0.8, 1.0, 3.0}) {
    INFO("alpha " << alpha);
    std::vector<double> draws;
    double below = 0;  // a quarter
    for (std::uint64_t seed = 0; seed < 40000; ++seed) {
      Random random(seed);
      draws.push_back(draw_beta(random, alpha));
      REQUIRE(draws.back() >= 0);
      REQUIRE(draws.back() <= 1);
      below += draws.back() < 0.25;
    }
    CHECK(moments(draws).mean == Approx(0.5).margin(0.012));
    CHECK(moments(draws).variance == Approx(1 / (4 * (2 * alpha + 1))).epsilon(0.03));
    if (alpha == 1) CHECK(below / 40000 == Approx(0.25).margin(0.01));          // uniform
    if (alpha == 3) CHECK(below / 40000 == Approx(0.103515625).margin(0.007));  // by its polynomial
  }
  Random random(0);
  check_error([&] { draw_beta(random, 0); }, {"draw_beta", "got 0"});
}

TEST_CASE("data/mixup/choices") {
  int none = 0, mixed = 0, cut = 0;
  std::vector<double> own;
  MixParams params = kPublished;
  params.probability = 0.75;
  params.switch_probability = 0.4;
  for (std::int64_t step = 0; step < 20000; ++step) {
    Random random = mix_random(1, step);
    const Mix mix = choose_mix(params, 32, 24, random);
    none += mix.kind == Mix::Kind::none;
    cut += mix.kind == Mix::Kind::cutmix;
    if (mix.kind != Mix::Kind::mixup) continue;
    ++mixed;
    own.push_back(mix.own);
  }
  CHECK(std::abs(none - 5000) < 250);
  CHECK(std::abs(cut - 6000) < 300);
  CHECK(std::abs(mixed - 9000) < 350);
  CHECK(moments(own).mean == Approx(0.5).margin(0.01));
  CHECK(moments(own).variance == Approx(1 / (4 * 2.6)).epsilon(0.04));
  const auto kinds = [](MixParams p) {
    std::set<Mix::Kind> seen;
    for (std::int64_t step = 0; step < 200; ++step) {
      Random random = mix_random(1, step);
      seen.insert(choose_mix(p, 8, 8, random).kind);
    }
    return seen;
  };
  using Kind = Mix::Kind;
  CHECK(kinds({}) == std::set<Kind>{Kind::none});
  CHECK(kinds({.mixup = 1}) == std::set<Kind>{Kind::mixup});
  CHECK(kinds({.cutmix = 1}) == std::set<Kind>{Kind::cutmix});
  CHECK(kinds({.cutmix_minmax = {{0.2, 0.8}}}) == std::set<Kind>{Kind::cutmix});
  CHECK(kinds({.mixup = 1, .cutmix_minmax = {{0.2, 0.8}}}) == std::set<Kind>{Kind::mixup, Kind::cutmix});
}

TEST_CASE("data/mixup/parts_of_cutmix") {
  double own = 0, top = 0, clipped = 0;
  constexpr int kDraws = 20000;
  for (std::int64_t step = 0; step < kDraws; ++step) {
    Random random = mix_random(2, step);
    const Mix mix = choose_mix({.cutmix = 1}, 40, 60, random);
    REQUIRE(mix.box.top >= 0);
    REQUIRE(mix.box.left >= 0);
    REQUIRE(mix.box.top + mix.box.height <= 40);
    REQUIRE(mix.box.left + mix.box.width <= 60);
    REQUIRE(mix.own == Approx(1 - static_cast<double>(mix.box.height * mix.box.width) / 2400));
    own += mix.own / kDraws;
    top += static_cast<double>(mix.box.top) / kDraws;
    clipped += mix.box.top == 0 || mix.box.top + mix.box.height == 40;
  }
  // The three numbers come from 400,000 draws of the rule written independently, in Python.
  CHECK(own == Approx(0.6936).margin(0.007));
  CHECK(top == Approx(9.16).margin(0.25));
  CHECK(clipped / kDraws == Approx(0.667).margin(0.012));
  std::set<std::int64_t> heights;
  for (std::int64_t step = 0; step < 2000; ++step) {
    Random random = mix_random(2, step);
    const Mix mix = choose_mix({.cutmix_minmax = {{0.25, 0.5}}}, 40, 60, random);
    heights.insert(mix.box.height);
    REQUIRE(mix.box.width >= 15);
    REQUIRE(mix.box.width < 30);
    REQUIRE(mix.box.left + mix.box.width < 60);
    REQUIRE(mix.own == Approx(1 - static_cast<double>(mix.box.height * mix.box.width) / 2400));
  }
  CHECK(*heights.begin() == 10);
  CHECK(*heights.rbegin() == 19);
}

TEST_CASE("data/mixup/pictures") {
  for (const std::int64_t n : {1, 4, 5}) {
    const Tensor before = random_batch(n, 6, 7, 3);
    const auto value = [&](const Tensor& t, std::int64_t i, std::int64_t p) {
      return static_cast<int>(t.data<std::uint8_t>()[i * 126 + p]);
    };
    Tensor images = before.clone();
    mix_images(images, {});
    Tensor blended = before.clone();
    mix_images(blended, {.kind = Mix::Kind::mixup, .own = 0.3});
    Tensor cut = before.clone();
    mix_images(cut, {.kind = Mix::Kind::cutmix, .own = 0.5, .box = {1, 2, 3, 4}});
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t p = 0; p < 126; ++p) {
        const std::int64_t y = p / 21, x = p / 3 % 7;
        const bool in_box = y >= 1 && y < 4 && x >= 2 && x < 6;
        REQUIRE(value(images, i, p) == value(before, i, p));
        REQUIRE(std::abs(value(blended, i, p) -
                         (0.3 * value(before, i, p) + 0.7 * value(before, n - 1 - i, p))) < 0.501);
        REQUIRE(value(cut, i, p) == value(before, in_box ? n - 1 - i : i, p));
      }
  }
  Tensor wrong = Tensor::zeros({2, 3, 4, 5});
  check_error([&] { mix_images(wrong, {}); }, {"mix_images", "u8 (N, H, W, C)"});
}

TEST_CASE("data/mixup/targets") {
  const Tensor labels = Tensor::of(std::vector<std::int64_t>{2, 0, 1, 2, 3}, {5});
  const Mix mix{.kind = Mix::Kind::mixup, .own = 0.3};
  const Tensor targets = soft_targets(labels, 4, mix, 0.1);
  REQUIRE(targets.shape() == Shape{5, 4});
  for (std::int64_t i = 0; i < 5; ++i) {
    double sum = 0;
    for (std::int64_t k = 0; k < 4; ++k) {
      const auto one = [&](std::int64_t n) { return labels.data<std::int64_t>()[n] == k ? 0.925 : 0.025; };
      CHECK(targets.data<float>()[i * 4 + k] == Approx(0.3 * one(i) + 0.7 * one(4 - i)));
      sum += targets.data<float>()[i * 4 + k];
    }
    CHECK(sum == Approx(1));
  }
  CHECK(soft_targets(labels, 4, {}, 0).data<float>()[2] == 1);
  CHECK(main_labels(labels, mix).data<std::int64_t>()[0] == 3);
  CHECK(main_labels(labels, mix).data<std::int64_t>()[3] == 0);
  CHECK(main_labels(labels, {.kind = Mix::Kind::mixup, .own = 0.7}).data<std::int64_t>()[0] == 2);
  check_error([&] { soft_targets(labels, 3, mix, 0); }, {"soft_targets", "[0, 3)", "got 3", "labels[4]"});
}

TEST_CASE("data/mixup/a_function_of_seed_and_step") {
  const auto own = [](std::uint64_t seed, std::int64_t step) {
    Random random = mix_random(seed, step);
    return choose_mix({.mixup = 1}, 8, 8, random).own;
  };
  CHECK(own(1, 2) == own(1, 2));
  CHECK(own(1, 2) != own(1, 3));
  CHECK(own(1, 2) != own(2, 2));
}

TEST_CASE("data/mixup/errors") {
  Random random(0);
  const auto choose = [&](MixParams p) { return [&random, p] { choose_mix(p, 8, 8, random); }; };
  check_error(choose({.mixup = -1}), {"mixup", "-1"});
  check_error(choose({.cutmix = NAN}), {"mixup", "nan"});
  check_error(choose({.mixup = 1, .probability = 1.5}), {"probabilities", "1.5"});
  check_error(choose({.cutmix_minmax = {{0.8, 0.2}}}), {"cutmix_minmax", "0.8"});
}
