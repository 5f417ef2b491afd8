#include "ops/drop_path/drop_path.h"

#include "core/dispatch.h"
#include "core/random.h"
#include "ops/primitives/elementwise.h"

namespace replk {
namespace {

// Those of x's samples, where x is.
Tensor factors_for(const Tensor& x, const DropPathParams& params) {
  const Tensor factors = drop_path_factors(DropPathGeometry::of(x, {}).samples, params);
  return factors.defined() ? factors.to(x.device()) : factors;
}

void scale(const char* op, const DropPathGeometry& g, const Tensor& factors, const Tensor& from,
           const GradTarget& to) {
  dispatch(
      op, from.device(), [&] { cpu::drop_path_scale(g, factors, from, to); },
      [&] { cuda::drop_path_scale(g, factors, from, to); });
}

}  // namespace

DropPathGeometry DropPathGeometry::of(const Tensor& x, const Tensor& factors) {
  check(x.rank() == 4, "drop_path: x of shape (C, N, H, W) expected, got ", x.shape(), ".");
  check(!factors.defined() || (factors.shape() == Shape({x.size(1)}) && factors.dtype() == DType::f64 &&
                               factors.device() == x.device()),
        "drop_path: factors f64 (N,) = (", x.size(1), ",) on ", x.device(), " expected, got ", factors, ".");
  return {x.size(0), x.size(1), x.size(2) * x.size(3)};
}

Tensor drop_path_factors(std::int64_t samples, const DropPathParams& params) {
  const double p = params.probability;
  check(p >= 0 && p < 1, "drop_path: probability in [0, 1) expected, got ", p, ".");
  check(params.first_sample >= 0, "drop_path: first_sample >= 0 expected, got ", params.first_sample, ".");
  if (!params.training || p == 0) return {};
  Tensor factors = Tensor::empty({samples}, DType::f64);
  double* factor = factors.data<double>();
  for (std::int64_t n = 0; n < samples; ++n) {
    const auto index = static_cast<std::uint64_t>(params.first_sample + n);
    const double draw = uniform_from(philox(params.seed, params.stream, index)[0]);
    factor[n] = draw < p ? 0 : 1 / (1 - p);
  }
  return factors;
}

Variable drop_path(const Variable& x, const Tensor& factors) {
  const auto g = DropPathGeometry::of(x.data(), factors);
  if (!factors.defined()) return x;
  const Tensor y = Tensor::empty_like(x.data());
  scale("drop_path", g, factors, x.data(), {y});
  return record("drop_path", y, {x}, /*saved=*/{},
                [g, factors](const Saved&, const Tensor& dy, GradSink& grads) {
                  scale("drop_path.backward", g, factors, dy, grads.into(0));
                });
}

Variable drop_path(const Variable& x, const DropPathParams& params) {
  return drop_path(x, factors_for(x.data(), params));
}

Variable drop_path_add(const Variable& x, const Variable& branch, const Tensor& factors) {
  const auto g = DropPathGeometry::of(branch.data(), factors);
  check(x.shape() == branch.shape() && x.data().dtype() == branch.data().dtype() &&
            x.data().device() == branch.data().device(),
        "drop_path_add: two tensors of one shape, dtype and device expected, got ", x.data(), " and ",
        branch.data(), ".");
  Tensor y = Tensor::empty_like(x.data());
  dispatch(
      "drop_path_add", y.device(),
      [&] { cpu::drop_path_add_forward(g, factors, x.data(), branch.data(), y); },
      [&] { cuda::drop_path_add_forward(g, factors, x.data(), branch.data(), y); });
  return record("drop_path_add", y, {x, branch}, /*saved=*/{},
                [g, factors](const Saved&, const Tensor& dy, GradSink& grads) {
                  pass_gradient(grads, 0, dy);
                  if (!factors.defined()) return pass_gradient(grads, 1, dy);
                  if (!grads.wants(1)) return;
                  scale("drop_path_add.backward", g, factors, dy, grads.into(1));
                });
}

Variable drop_path_add(const Variable& x, const Variable& branch, const DropPathParams& params) {
  return drop_path_add(x, branch, factors_for(branch.data(), params));
}

}  // namespace replk
