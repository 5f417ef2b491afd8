#include "optim/schedule.h"

#include <cmath>

#include "core/error.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;
using Kind = ScheduleParams::Kind;

TEST_CASE("optim/schedule/constant") {
  const Schedule plain({.lr = 0.2});
  CHECK(plain.learning_rate(0) == 0.2);
  CHECK(plain.learning_rate(1'000'000) == 0.2);
  const Schedule warm({.lr = 0.2, .warmup_steps = 4});
  CHECK(warm.learning_rate(0) == 0.05);
  CHECK(warm.learning_rate(1) == 0.1);
  CHECK(warm.learning_rate(3) == 0.2);
  CHECK(warm.learning_rate(4) == 0.2);
}

TEST_CASE("optim/schedule/cosine") {
  const Schedule s({.kind = Kind::cosine, .lr = 1, .min_lr = 0.1, .warmup_steps = 10, .total_steps = 110});
  CHECK(s.learning_rate(0) == Approx(0.1).epsilon(1e-14));
  CHECK(s.learning_rate(9) == 1);   // the last warm-up step
  CHECK(s.learning_rate(10) == 1);  // the first after it
  CHECK(s.learning_rate(11) < 1);
  CHECK(s.learning_rate(35) == Approx(0.1 + 0.9 * (2 + std::sqrt(2.0)) / 4).epsilon(1e-14));
  CHECK(s.learning_rate(60) == Approx(0.55).epsilon(1e-14));
  CHECK(s.learning_rate(109) > 0.1);  // the last step of training
  CHECK(s.learning_rate(109) == Approx(0.1).margin(3e-4));
  CHECK(s.learning_rate(110) == 0.1);
  CHECK(s.learning_rate(1000) == 0.1);
  for (std::int64_t t = 10; t < 110; ++t) CHECK(s.learning_rate(t + 1) < s.learning_rate(t));
  for (std::int64_t t = 0; t < 9; ++t) CHECK(s.learning_rate(t + 1) > s.learning_rate(t));
}

TEST_CASE("optim/schedule/cosine_without_warmup_or_nothing_else") {
  const Schedule none({.kind = Kind::cosine, .lr = 1, .total_steps = 2});
  CHECK(none.learning_rate(0) == 1);
  CHECK(none.learning_rate(1) == Approx(0.5));
  CHECK(none.learning_rate(2) == 0);
  const Schedule only({.kind = Kind::cosine, .lr = 1, .warmup_steps = 3, .total_steps = 3});
  CHECK(only.learning_rate(2) == 1);
  CHECK(only.learning_rate(3) == 0);
}

TEST_CASE("optim/schedule/cosine_between") {
  CHECK(cosine_between(0.05, 0.4, 0) == Approx(0.05));  // may rise, too
  CHECK(cosine_between(0.05, 0.4, 0.5) == Approx(0.225));
  CHECK(cosine_between(0.05, 0.4, 0.25) == Approx(0.4 - 0.35 * (1 + std::sqrt(0.5)) / 2));
  CHECK(cosine_between(0.05, 0.4, 1) == 0.4);
  CHECK(cosine_between(0.05, 0.4, 7) == 0.4);
}

TEST_CASE("optim/schedule/step") {
  const Schedule at({.kind = Kind::step, .lr = 1, .milestones = {3, 5}, .gamma = 0.5});
  const std::vector<double> wanted = {1, 1, 1, 0.5, 0.5, 0.25, 0.25};
  for (std::size_t t = 0; t < wanted.size(); ++t)
    CHECK(at.learning_rate(static_cast<std::int64_t>(t)) == wanted[t]);
  const Schedule every({.kind = Kind::step, .lr = 1, .min_lr = 0.2, .every = 2, .gamma = 0.5});
  const std::vector<double> steps = {1, 1, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2};
  for (std::size_t t = 0; t < steps.size(); ++t)
    CHECK(every.learning_rate(static_cast<std::int64_t>(t)) == steps[t]);
  const Schedule warm({.kind = Kind::step, .lr = 1, .warmup_steps = 2, .every = 2, .gamma = 0.5});
  CHECK(warm.learning_rate(0) == 0.5);
  CHECK(warm.learning_rate(1) == 1);
  CHECK(warm.learning_rate(2) == 0.5);
}

TEST_CASE("optim/schedule/errors") {
  const auto refused = [](ScheduleParams p, const std::vector<std::string>& parts) {
    check_error([&] { Schedule{p}; }, parts);
  };
  refused({.lr = -1}, {"schedule", "lr", "-1"});
  refused({.lr = NAN}, {"schedule", "lr"});
  refused({.lr = 0.1, .min_lr = 0.2}, {"min_lr", "0.1", "0.2"});
  refused({.lr = 0.1, .min_lr = -0.2}, {"min_lr", "-0.2"});
  refused({.warmup_steps = -1}, {"warmup_steps", "-1"});
  refused({.kind = Kind::cosine}, {"total_steps", "0"});
  refused({.kind = Kind::cosine, .warmup_steps = 11, .total_steps = 10}, {"total_steps", "10", "11"});
  refused({.kind = Kind::step}, {"milestones", "every"});
  refused({.kind = Kind::step, .milestones = {1}, .every = 2}, {"milestones", "every"});
  refused({.kind = Kind::step, .milestones = {5, 5}}, {"milestones", "rise"});
  refused({.kind = Kind::step, .milestones = {-1}}, {"milestones"});
  refused({.kind = Kind::step, .every = 2, .gamma = 0}, {"gamma", "0"});
  refused({.kind = Kind::step, .every = 2, .gamma = 1.5}, {"gamma", "1.5"});
  check_error([] { Schedule({.lr = 1}).learning_rate(-1); }, {"schedule", "step", "-1"});
  CHECK(schedule_kind("cosine") == Kind::cosine);
  CHECK(schedule_kind("step") == Kind::step);
  CHECK(schedule_kind("constant") == Kind::constant);
  CHECK_THROWS_AS(schedule_kind("cosin"), UsageError);
  check_error([] { schedule_kind("cosin"); }, {"\"cosin\"", "constant, step or cosine", "mean cosine?"});
}
