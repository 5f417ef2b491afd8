// Optimizer: what SGD and AdamW have in common: a step count, a learning rate, and state that can be saved.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "optim/flat_parameters.h"

namespace replk {

/// Updates all parameters of a FlatParameters, which must outlive it, in one pass over the flat buffers.
/// Frozen parameters (trainable == false) keep weights and state; a parameter without a gradient this step
/// counts as having a zero one, so that its decay and momentum go on. There is one step count for all
/// parameters.
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// Applies the gradients. With their norm (from FlatParameters::grad_norm or clip_grad_norm) it changes
  /// neither weights nor buffers when that is not finite, without waiting for the device to learn it; the
  /// step counts all the same. Without it nobody looks.
  void step(const Tensor& norm = {});
  /// Steps taken so far, including those before a load_state.
  std::int64_t steps() const { return steps_; }

  double learning_rate() const { return learning_rate_; }
  /// For the steps from here on; each group multiplies it by its lr_scale. Throws Error when negative or not
  /// finite.
  void set_learning_rate(double learning_rate);
  /// For the steps from here on, as a factor on the weight decay of every group: 1 unless a schedule says
  /// otherwise. Throws Error when negative or not finite.
  void set_weight_decay_scale(double scale);
  double weight_decay_scale() const { return weight_decay_scale_; }

  /// Copies of all state, by "<what>.<parameter name>", and "step" (i64, rank 0).
  std::map<std::string, Tensor> state() const;
  /// Takes over what state() of the same kind of optimizer for the same parameters gave, bit for bit. Throws
  /// Error naming the entry when one is missing, unexpected, or of another shape or dtype; then nothing has
  /// changed.
  void load_state(const std::map<std::string, Tensor>& state);

 protected:
  /// `name` is a literal, for errors and profiles.
  Optimizer(const char* name, FlatParameters& parameters, double learning_rate);
  /// A zeroed buffer that state() saves under `prefix`.
  Tensor add_buffer(const char* prefix);
  /// One update of all trainable parameters; steps() counts it already. On the CPU the norm has been looked
  /// at. What differs between steps must reach kernels through updates_on_device: a Replay may record them.
  virtual void update(const FlatParameters& parameters, const Tensor& norm) = 0;
  /// update_of(range) for each range, on the device of the parameters in their dtype, computed before each
  /// run of a step that is recorded. `Update` holds nothing but doubles.
  template <class Update>
  std::vector<Tensor> updates_on_device(const std::vector<UpdateRange>& ranges,
                                        std::function<Update(const UpdateRange&)> update_of) const {
    using Numbers = std::array<double, sizeof(Update) / sizeof(double)>;
    return rows_on_device(ranges, Numbers{}.size(), [=](const UpdateRange& range) {
      const auto numbers = std::bit_cast<Numbers>(update_of(range));
      return std::vector<double>(numbers.begin(), numbers.end());
    });
  }

 private:
  std::vector<Tensor> rows_on_device(const std::vector<UpdateRange>& ranges, std::size_t columns,
                                     std::function<std::vector<double>(const UpdateRange&)> row) const;

  const char* name_;
  FlatParameters& parameters_;
  double learning_rate_ = 0, weight_decay_scale_ = 1;
  std::int64_t steps_ = 0;
  NamedBuffers buffers_;
};

}  // namespace replk
