#include "nn/init.h"

#include <algorithm>
#include <cmath>

#include "core/parallel.h"
#include "core/random.h"
#include "ops/primitives/elementwise.h"

namespace replk {

void init_uniform(Parameter& parameter, double bound, std::uint64_t seed) {
  Tensor values = Tensor::empty(parameter.data.shape());
  float* out = values.data<float>();
  const std::uint64_t stream = stream_of(parameter.name);
  const auto low = static_cast<float>(-bound), width = static_cast<float>(2 * bound);
  const std::int64_t count = values.numel();
  parallel_for((count + 3) / 4, 1 << 14, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t block = begin; block < end; ++block) {
      const auto words = philox(seed, stream, static_cast<std::uint64_t>(block));
      for (std::int64_t i = 4 * block; i < std::min(4 * block + 4, count); ++i)
        out[i] = low + width * uniform_from(words[static_cast<std::size_t>(i % 4)]);
    }
  });
  parameter.data.copy_from(cast(values, parameter.data.dtype()));
}

void init_fan_in_uniform(Parameter& parameter, std::int64_t fan_in, std::uint64_t seed) {
  init_uniform(parameter, 1.0 / std::sqrt(static_cast<double>(fan_in)), seed);
}

void assign(Parameter& parameter, const std::vector<double>& values) {
  parameter.data.copy_from(cast(Tensor::of(values, parameter.data.shape()), parameter.data.dtype()));
}

}  // namespace replk
