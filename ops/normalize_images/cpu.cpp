#include <array>
#include <vector>

#include "core/parallel.h"
#include "ops/normalize_images/normalize_images.h"

namespace replk::cpu {

void normalize_images(const NormalizeImagesGeometry& g, const Tensor& images, std::span<const float> mean,
                      std::span<const float> std, Tensor& y) {
  constexpr std::int64_t kGrain = 1 << 12;  // pixels worth a thread
  visit_real("normalize_images", y.dtype(), [&]<class T>(TypeTag<T>) {
    // A byte has 256 values: all of them are computed once, in double, and looked up.
    std::vector<std::array<T, 256>> tables(static_cast<std::size_t>(g.channels));
    for (std::size_t c = 0; c < tables.size(); ++c)
      for (std::size_t byte = 0; byte < 256; ++byte)
        tables[c][byte] = static_cast<T>((static_cast<double>(byte) / 255 - static_cast<double>(mean[c])) /
                                         static_cast<double>(std[c]));
    const std::uint8_t* from = images.data<std::uint8_t>();
    T* to = y.data<T>();
    parallel_for(g.pixels, kGrain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t c = 0; c < g.channels; ++c) {
        const std::array<T, 256>& table = tables[static_cast<std::size_t>(c)];
        for (std::int64_t i = begin; i < end; ++i) to[c * g.pixels + i] = table[from[i * g.channels + c]];
      }
    });
  });
}

}  // namespace replk::cpu
