#include "optim/schedule.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numbers>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/nearest_name.h"

namespace replk {

using Kind = ScheduleParams::Kind;

Schedule::Schedule(ScheduleParams params) : params_(std::move(params)) {
  const ScheduleParams& p = params_;
  check(std::isfinite(p.lr) && p.lr >= 0, "schedule: lr of 0 or more expected, got ", p.lr, ".");
  check(p.min_lr >= 0 && p.min_lr <= p.lr, "schedule: min_lr between 0 and lr = ", p.lr, " expected, got ",
        p.min_lr, ".");
  check(p.warmup_steps >= 0, "schedule: warmup_steps of 0 or more expected, got ", p.warmup_steps, ".");
  if (p.kind == Kind::cosine)
    check(p.total_steps >= 1 && p.warmup_steps <= p.total_steps,
          "schedule: cosine needs total_steps of at least 1 and warmup_steps, got ", p.total_steps,
          " total and ", p.warmup_steps, " warm-up steps.");
  if (p.kind == Kind::step) {
    check(p.gamma > 0 && p.gamma <= 1, "schedule: gamma in (0, 1] expected, got ", p.gamma, ".");
    check(p.every >= 0 && (p.every > 0) != !p.milestones.empty(),
          "schedule: step needs either milestones or every >= 1, got ", p.milestones.size(),
          " milestones and every = ", p.every, ".");
    const auto& m = p.milestones;
    check(m.empty() ||
              (m.front() >= 0 && std::adjacent_find(m.begin(), m.end(), std::greater_equal<>()) == m.end()),
          "schedule: milestones are expected to rise from 0 or more.");
  }
}

double cosine_between(double from, double to, double done) {
  return done >= 1 ? to : to + (from - to) * (1 + std::cos(std::numbers::pi * done)) / 2;
}

double Schedule::learning_rate(std::int64_t step) const {
  const ScheduleParams& p = params_;
  check(step >= 0, "schedule: a step of 0 or more expected, got ", step, ".");
  if (step < p.warmup_steps)
    return p.lr * (static_cast<double>(step + 1) / static_cast<double>(p.warmup_steps));
  switch (p.kind) {
    case Kind::constant:
      break;
    case Kind::step: {
      const std::int64_t times =
          p.every > 0
              ? step / p.every
              : std::upper_bound(p.milestones.begin(), p.milestones.end(), step) - p.milestones.begin();
      return std::max(p.min_lr, p.lr * std::pow(p.gamma, static_cast<double>(times)));
    }
    case Kind::cosine: {
      if (step >= p.total_steps) return p.min_lr;
      const double done =
          static_cast<double>(step - p.warmup_steps) / static_cast<double>(p.total_steps - p.warmup_steps);
      return cosine_between(p.lr, p.min_lr, done);
    }
  }
  return p.lr;
}

Kind schedule_kind(std::string_view name) {
  const std::array<std::string, 3> names = {"constant", "step", "cosine"};
  const std::array<Kind, 3> kinds = {Kind::constant, Kind::step, Kind::cosine};
  for (std::size_t i = 0; i < names.size(); ++i)
    if (name == names[i]) return kinds[i];
  throw UsageError(str("schedule: constant, step or cosine expected, got \"", name, "\". Did you mean ",
                       nearest_name(name, names), "?"));
}

}  // namespace replk
