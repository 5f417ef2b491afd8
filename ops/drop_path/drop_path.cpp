#include "ops/drop_path/drop_path.h"

#include "core/dispatch.h"
#include "core/random.h"
#include "ops/primitives/elementwise.h"

namespace replk {

DropPathGeometry DropPathGeometry::of(const Tensor& x, const DropPathParams& params) {
  check(x.rank() == 4, "drop_path: x of shape (C, N, H, W) expected, got ", x.shape(), ".");
  check(params.probability >= 0 && params.probability < 1, "drop_path: probability in [0, 1) expected, got ",
        params.probability, ".");
  check(params.first_sample >= 0, "drop_path: first_sample >= 0 expected, got ", params.first_sample, ".");
  return {x.size(0), x.size(1), x.size(2) * x.size(3)};
}

std::vector<double> drop_path_factors(std::int64_t samples, const DropPathParams& params) {
  std::vector<double> factors;
  for (std::int64_t n = 0; n < samples; ++n) {
    const auto index = static_cast<std::uint64_t>(params.first_sample + n);
    const double draw = uniform_from(philox(params.seed, params.stream, index)[0]);
    factors.push_back(draw < params.probability ? 0 : 1 / (1 - params.probability));
  }
  return factors;
}

Variable drop_path(const Variable& x, DropPathParams params) {
  const auto g = DropPathGeometry::of(x.data(), params);
  if (!params.training || params.probability == 0) return x;
  Tensor y = Tensor::empty_like(x.data());
  dispatch(
      "drop_path", y.device(),
      [&] { cpu::drop_path_scale(g, drop_path_factors(g.samples, params), x.data(), GradTarget{y}); },
      [&] { cuda::drop_path_scale(g, params, x.data(), GradTarget{y}); });
  return record(
      "drop_path", y, {x}, /*saved=*/{}, [g, params](const Saved&, const Tensor& dy, GradSink& grads) {
        dispatch(
            "drop_path.backward", dy.device(),
            [&] { cpu::drop_path_scale(g, drop_path_factors(g.samples, params), dy, grads.into(0)); },
            [&] { cuda::drop_path_scale(g, params, dy, grads.into(0)); });
      });
}

Variable drop_path_add(const Variable& x, const Variable& branch, DropPathParams params) {
  const auto g = DropPathGeometry::of(branch.data(), params);
  check(x.shape() == branch.shape() && x.data().dtype() == branch.data().dtype() &&
            x.data().device() == branch.data().device(),
        "drop_path_add: two tensors of one shape, dtype and device expected, got ", x.data(), " and ",
        branch.data(), ".");
  if (!params.training) params.probability = 0;
  Tensor y = Tensor::empty_like(x.data());
  dispatch(
      "drop_path_add", y.device(),
      [&] {
        cpu::drop_path_add_forward(g, drop_path_factors(g.samples, params), x.data(), branch.data(), y);
      },
      [&] { cuda::drop_path_add_forward(g, params, x.data(), branch.data(), y); });
  return record(
      "drop_path_add", y, {x, branch}, /*saved=*/{},
      [g, params](const Saved&, const Tensor& dy, GradSink& grads) {
        pass_gradient(grads, 0, dy);
        if (params.probability == 0) return pass_gradient(grads, 1, dy);
        if (!grads.wants(1)) return;
        dispatch(
            "drop_path_add.backward", dy.device(),
            [&] { cpu::drop_path_scale(g, drop_path_factors(g.samples, params), dy, grads.into(1)); },
            [&] { cuda::drop_path_scale(g, params, dy, grads.into(1)); });
      });
}

}  // namespace replk
