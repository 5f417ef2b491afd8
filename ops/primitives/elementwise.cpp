#include "ops/primitives/elementwise.h"

#include <atomic>
#include <cmath>

#include "core/dispatch.h"
#include "core/parallel.h"

namespace replk {
namespace {

constexpr std::int64_t kGrain = 1 << 15;  // elements worth a thread

template <class From, class To>
To convert(From value) {
  constexpr bool kNarrowFrom = std::is_same_v<From, bf16> || std::is_same_v<From, f16>;
  constexpr bool kNarrowTo = std::is_same_v<To, bf16> || std::is_same_v<To, f16>;
  if constexpr (kNarrowFrom)
    return convert<float, To>(static_cast<float>(value));
  else if constexpr (kNarrowTo)
    return To(static_cast<float>(value));
  else
    return static_cast<To>(value);
}

}  // namespace

Tensor cast(const Tensor& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  Tensor y = Tensor::empty(x.shape(), dtype, x.device());
  const auto on_cpu = [&] {
    visit(x.dtype(), [&]<class From>(TypeTag<From>) {
      visit(dtype, [&]<class To>(TypeTag<To>) {
        const From* from = x.data<From>();
        To* to = y.data<To>();
        parallel_for(x.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t i = begin; i < end; ++i) to[i] = convert<From, To>(from[i]);
        });
      });
    });
  };
  dispatch("cast", x.device(), on_cpu, [&] { cuda::cast(x, y); });
  return y;
}

void add_into(const GradTarget& target, const Tensor& x) {
  check(target.tensor.shape() == x.shape(), "add_into: ", target.tensor, " += ", x, ".");
  const auto on_cpu = [&] {
    visit_real("add_into", x.dtype(), [&]<class T>(TypeTag<T>) {
      Tensor out = target.tensor;
      T* to = out.data<T>();
      const T* from = x.data<T>();
      parallel_for(x.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
        if (target.accumulate)
          for (std::int64_t i = begin; i < end; ++i) to[i] += from[i];
        else
          std::copy(from + begin, from + end, to + begin);
      });
    });
  };
  dispatch("add_into", x.device(), on_cpu, [&] { cuda::add_into(target, x); });
}

void pass_gradient(GradSink& grads, int i, const Tensor& dy) {
  if (grads.wants(i) && !grads.try_share(i, dy)) add_into(grads.into(i), dy);
}

bool all_finite(const Tensor& x) {
  bool finite = true;
  const auto on_cpu = [&] {
    visit_real("all_finite", x.dtype(), [&]<class T>(TypeTag<T>) {
      const T* values = x.data<T>();
      std::atomic<bool> all{true};
      parallel_for(x.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i)
          if (!std::isfinite(values[i])) {
            all = false;
            return;
          }
      });
      finite = all;
    });
  };
  dispatch("all_finite", x.device(), on_cpu, [&] { finite = cuda::all_finite(x); });
  return finite;
}

}  // namespace replk
