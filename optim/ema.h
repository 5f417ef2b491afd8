// Ema: an exponential moving average of the weights, often better than the weights themselves.
#pragma once

#include <map>
#include <string>

#include "optim/flat_parameters.h"

namespace replk {

/// Starts as a copy of the weights; every update is average += (1 - decay) (weight - average), one pass over
/// the flat buffer. `buffers` are averaged too: the statistics of batch norms, which are no parameters, but
/// those of the newest weights do not fit averaged ones. FlatParameters must outlive it, and buffers keep
/// their memory. Throws Error unless decay is in [0, 1), and for a buffer that is not f32 or f64.
class Ema {
 public:
  Ema(FlatParameters& parameters, double decay, NamedBuffers buffers = {});

  /// Call after each optimizer step.
  void update();
  /// Exchanges weights (and buffers) and averages: swap, evaluate or save the model, swap back.
  void swap();

  /// Copies of the averages, by "ema.<parameter or buffer name>".
  std::map<std::string, Tensor> state() const;
  /// Takes over what state() gave, bit for bit. Throws Error naming the entry when one is missing,
  /// unexpected, or of another shape or dtype; then nothing has changed.
  void load_state(const std::map<std::string, Tensor>& state);

 private:
  FlatParameters& parameters_;
  double decay_;
  Tensor average_;
  NamedBuffers buffers_, buffer_averages_;
};

}  // namespace replk
