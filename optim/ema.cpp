#include "optim/ema.h"

#include <utility>

#include "core/dispatch.h"
#include "optim/for_trainable.h"
#include "optim/updates.h"

namespace replk {
namespace {

// f(weight, average) for every element, on the CPU.
template <class F>
void for_pairs(const char* name, Tensor data, Tensor average, const F& f) {
  visit_real(name, data.dtype(), [&]<class T>(TypeTag<T>) {
    T *weight = data.data<T>(), *mean = average.data<T>();
    parallel_for(data.numel(), kElementsPerThread, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) f(weight[i], mean[i]);
    });
  });
}

}  // namespace

Ema::Ema(FlatParameters& parameters, double decay)
    : parameters_(parameters), decay_(decay), average_(parameters.data().clone()) {
  check(decay >= 0 && decay < 1, "ema: decay in [0, 1) expected, got ", decay, ".");
}

void Ema::update() {
  const Tensor& data = parameters_.data();
  const double take = 1 - decay_;
  dispatch(
      "ema", data.device(),
      [&] {
        for_pairs("ema", data, average_, [take]<class T>(const T& weight, T& average) {
          average += static_cast<T>(take) * (weight - average);
        });
      },
      [&] { cuda::ema_update(take, data, average_); });
}

void Ema::swap() {
  const Tensor& data = parameters_.data();
  dispatch(
      "ema.swap", data.device(),
      [&] {
        for_pairs("ema.swap", data, average_,
                  []<class T>(T& weight, T& average) { std::swap(weight, average); });
      },
      [&] { cuda::swap(data, average_); });
}

std::map<std::string, Tensor> Ema::state() const { return save_buffers(parameters_, {{"ema", average_}}); }

void Ema::load_state(const std::map<std::string, Tensor>& state) {
  load_buffers("ema", parameters_, {{"ema", average_}}, state);
}

}  // namespace replk
