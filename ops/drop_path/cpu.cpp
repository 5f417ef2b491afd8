#include <Eigen/Core>

#include "core/parallel.h"
#include "ops/drop_path/drop_path.h"

namespace replk::cpu {
namespace {

// Calls f(plane, factor) for every plane of every channel, `factor` being that of its sample.
template <class F>
void for_planes(const DropPathGeometry& g, const Tensor& factors, const F& f) {
  const double* of_sample = factors.defined() ? factors.data<double>() : nullptr;
  constexpr std::int64_t kWorkPerThread = 1 << 14;  // elements
  parallel_for(g.channels * g.samples, kWorkPerThread / std::max<std::int64_t>(g.plane, 1) + 1,
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t i = begin; i < end; ++i) f(i, of_sample ? of_sample[i % g.samples] : 1);
               });
}

}  // namespace

void drop_path_scale(const DropPathGeometry& g, const Tensor& factors, const Tensor& from, GradTarget to) {
  visit_real("drop_path", from.dtype(), [&]<class T>(TypeTag<T>) {
    using Plane = Eigen::Array<T, Eigen::Dynamic, 1>;
    const T* source = from.data<T>();
    T* result = to.tensor.data<T>();
    for_planes(g, factors, [&](std::int64_t i, double of_sample) {
      const T factor = static_cast<T>(of_sample);
      const Eigen::Map<const Plane> in(source + i * g.plane, g.plane);
      Eigen::Map<Plane> out(result + i * g.plane, g.plane);
      if (factor == 0) {  // not read at all, so a dropped NaN or infinity is dropped
        if (!to.accumulate) out.setZero();
      } else if (to.accumulate) {
        out += in * factor;
      } else {
        out = in * factor;
      }
    });
  });
}

void drop_path_add_forward(const DropPathGeometry& g, const Tensor& factors, const Tensor& x,
                           const Tensor& branch, Tensor& y) {
  visit_real("drop_path_add", y.dtype(), [&]<class T>(TypeTag<T>) {
    using Plane = Eigen::Array<T, Eigen::Dynamic, 1>;
    const T *shortcut = x.data<T>(), *residual = branch.data<T>();
    T* result = y.data<T>();
    for_planes(g, factors, [&](std::int64_t i, double factor) {
      const Eigen::Map<const Plane> in(shortcut + i * g.plane, g.plane), add(residual + i * g.plane, g.plane);
      Eigen::Map<Plane> out(result + i * g.plane, g.plane);
      if (factor == 0)  // the branch is not read at all, so a dropped NaN or infinity is dropped
        out = in;
      else
        out = in + add * static_cast<T>(factor);
    });
  });
}

}  // namespace replk::cpu
