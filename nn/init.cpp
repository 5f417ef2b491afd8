#include "nn/init.h"

#include <cmath>

#include "core/random.h"
#include "ops/primitives/elementwise.h"

namespace replk {

void init_uniform(Parameter& parameter, double bound, std::uint64_t seed) {
  Tensor values = Tensor::empty(parameter.data.shape());
  Random random(seed, stream_of(parameter.name));
  float* out = values.data<float>();
  for (std::int64_t i = 0; i < values.numel(); ++i)
    out[i] = static_cast<float>(random.uniform(-bound, bound));
  parameter.data.copy_from(cast(values, parameter.data.dtype()));
}

void init_fan_in_uniform(Parameter& parameter, std::int64_t fan_in, std::uint64_t seed) {
  init_uniform(parameter, 1.0 / std::sqrt(static_cast<double>(fan_in)), seed);
}

}  // namespace replk
