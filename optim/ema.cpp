#include "optim/ema.h"

#include <utility>

#include "core/dispatch.h"
#include "optim/for_trainable.h"

namespace replk {
namespace {

// f(weight, average) for every element.
template <class F>
void for_pairs(const char* name, const FlatParameters& parameters, Tensor average, const F& f) {
  Tensor data = parameters.data();
  dispatch(name, data.device(), [&] {
    visit_real(name, data.dtype(), [&]<class T>(TypeTag<T>) {
      T *weight = data.data<T>(), *mean = average.data<T>();
      parallel_for(data.numel(), kElementsPerThread, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) f(weight[i], mean[i]);
      });
    });
  });
}

}  // namespace

Ema::Ema(FlatParameters& parameters, double decay)
    : parameters_(parameters), decay_(decay), average_(parameters.data().clone()) {
  check(decay >= 0 && decay < 1, "ema: decay in [0, 1) expected, got ", decay, ".");
}

void Ema::update() {
  for_pairs("ema", parameters_, average_, [take = 1 - decay_]<class T>(const T& weight, T& average) {
    average += static_cast<T>(take) * (weight - average);
  });
}

void Ema::swap() {
  for_pairs("ema.swap", parameters_, average_,
            []<class T>(T& weight, T& average) { std::swap(weight, average); });
}

std::map<std::string, Tensor> Ema::state() const { return save_buffers(parameters_, {{"ema", average_}}); }

void Ema::load_state(const std::map<std::string, Tensor>& state) {
  load_buffers("ema", parameters_, {{"ema", average_}}, state);
}

}  // namespace replk
