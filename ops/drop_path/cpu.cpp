#include <Eigen/Core>

#include "core/parallel.h"
#include "ops/drop_path/drop_path.h"

namespace replk::cpu {

void drop_path_scale(const DropPathGeometry& g, const std::vector<double>& factors, const Tensor& from,
                     GradTarget to) {
  constexpr std::int64_t kWorkPerThread = 1 << 14;  // elements
  visit_real("drop_path", from.dtype(), [&]<class T>(TypeTag<T>) {
    using Plane = Eigen::Array<T, Eigen::Dynamic, 1>;
    const T* source = from.data<T>();
    T* result = to.tensor.data<T>();
    const auto scale_plane = [&](std::int64_t i) {
      const T factor = static_cast<T>(factors[static_cast<std::size_t>(i % g.samples)]);
      const Eigen::Map<const Plane> in(source + i * g.plane, g.plane);
      Eigen::Map<Plane> out(result + i * g.plane, g.plane);
      if (factor == 0) {  // not read at all, so a dropped NaN or infinity is dropped
        if (!to.accumulate) out.setZero();
      } else if (to.accumulate) {
        out += in * factor;
      } else {
        out = in * factor;
      }
    };
    parallel_for(g.channels * g.samples, kWorkPerThread / std::max<std::int64_t>(g.plane, 1) + 1,
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t i = begin; i < end; ++i) scale_plane(i);
                 });
  });
}

}  // namespace replk::cpu
