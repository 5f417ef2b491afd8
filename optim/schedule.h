// Schedule: the learning rate as a function of the step.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace replk {

/// All times are in optimizer steps, counted from 0.
struct ScheduleParams {
  enum class Kind { constant, step, cosine };
  Kind kind = Kind::constant;
  double lr = 1e-3;                        // the highest
  double min_lr = 0;                       // where cosine ends; step decay stops there too
  std::int64_t warmup_steps = 0;           // any kind: rises linearly, lr / warmup_steps in step 0
  std::int64_t total_steps = 0;            // cosine: min_lr is reached here, and kept
  std::vector<std::int64_t> milestones{};  // step: lr times gamma at each of them (rising)
  std::int64_t every = 0;                  // step: or every so many steps
  double gamma = 0.1;                      // step: in (0, 1]
};

/// A pure function of the step: nothing to save, any step may be asked for.
///     warm-up    lr (t + 1) / warmup_steps                                            for t < warmup_steps
///     constant   lr
///     step       max(min_lr, lr gamma^k), k the milestones <= t, or t / every rounded down
///     cosine     min_lr + (lr - min_lr) (1 + cos(pi (t - warmup_steps) / (total_steps - warmup_steps))) / 2
/// The last warm-up step and the one after it both have exactly lr. Source: Loshchilov and Hutter, "SGDR",
/// ICLR 2017, without restarts; warm-up by step as in the published RepLKNet training, but not starting at 0.
class Schedule {
 public:
  /// Throws Error for values that make no sense together, naming the field.
  explicit Schedule(ScheduleParams params);
  /// Throws Error for a negative step.
  double learning_rate(std::int64_t step) const;

 private:
  ScheduleParams params_;
};

/// Half a cosine from `from` (done = 0) to `to` (done = 1 and beyond): to + (from - to) (1 + cos(pi done)) /
/// 2
double cosine_between(double from, double to, double done);

/// "constant", "step" or "cosine" as a kind. Throws UsageError for another name, listing the three and the
/// nearest.
ScheduleParams::Kind schedule_kind(std::string_view name);

}  // namespace replk
