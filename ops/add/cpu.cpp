#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/add/cpu.cpp"

#include "core/parallel.h"
#include "ops/add/add.h"
#include "ops/primitives/simd_targets.h"
// Highway compiles the rest of this file once per instruction set.
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/primitives/activation-inl.h"
#include "ops/primitives/simd_row-inl.h"

HWY_BEFORE_NAMESPACE();
namespace replk::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

// Elements [begin, end).
void forward(std::int64_t begin, std::int64_t end, const Tensor& a, const Tensor& b, bool relu, Tensor& y) {
  visit_real("add", y.dtype(), [&]<class T>(TypeTag<T>) {
    const hn::ScalableTag<T> d;
    const T *left = a.data<T>() + begin, *right = b.data<T>() + begin;
    T* to = y.data<T>() + begin;
    visit_activation(relu ? Activation::relu : Activation::none, [&]<class F>(F) {
      for_each_vector(d, end - begin, [&](std::int64_t i, std::int64_t count) HWY_ATTR {
        const auto sum = hn::Add(load_up_to(d, left + i, count), load_up_to(d, right + i, count));
        store_up_to(d, F::value(d, sum), to + i, count);
      });
    });
  });
}

void relu_backward(std::int64_t begin, std::int64_t end, const Tensor& y, const Tensor& dy, Tensor& dz) {
  visit_real("add", y.dtype(), [&]<class T>(TypeTag<T>) {
    const hn::ScalableTag<T> d;
    const T *result = y.data<T>() + begin, *from = dy.data<T>() + begin;
    T* to = dz.data<T>() + begin;
    for_each_vector(d, end - begin, [&](std::int64_t i, std::int64_t count) HWY_ATTR {
      const auto gradient =
          Relu::gradient(d, load_up_to(d, result + i, count), load_up_to(d, from + i, count));
      store_up_to(d, gradient, to + i, count);
    });
  });
}

}  // namespace
}  // namespace replk::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace replk::cpu {
HWY_EXPORT(forward);
HWY_EXPORT(relu_backward);

namespace {
constexpr std::int64_t kGrain = 1 << 14;  // elements worth a thread
}

void add_forward(const Tensor& a, const Tensor& b, const AddParams& params, Tensor& y) {
  parallel_for(y.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(forward)(begin, end, a, b, params.relu, y);
  });
}

void add_relu_backward(const Tensor& y, const Tensor& dy, Tensor& dz) {
  parallel_for(y.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(relu_backward)(begin, end, y, dy, dz);
  });
}

}  // namespace replk::cpu
#endif  // HWY_ONCE
