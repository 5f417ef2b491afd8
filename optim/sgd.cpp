#include "optim/sgd.h"

#include "optim/for_trainable.h"

namespace replk {

Sgd::Sgd(FlatParameters& parameters, SgdParams params)
    : Optimizer("sgd", parameters, params.lr), params_(params) {
  const auto check_fraction = [](const char* name, double value) {
    check(value >= 0 && value < 1, "sgd: ", name, " in [0, 1) expected, got ", value, ".");
  };
  check_fraction("momentum", params.momentum);
  check_fraction("dampening", params.dampening);
  check(!params.nesterov || (params.momentum > 0 && params.dampening == 0),
        "sgd: nesterov needs momentum > 0 and dampening 0, got momentum ", params.momentum, " and dampening ",
        params.dampening, ".");
  if (params.momentum > 0) momentum_ = add_buffer("momentum");
}

void Sgd::update(const FlatParameters& parameters, std::int64_t step) {
  visit_real("sgd", parameters.data().dtype(), [&]<class T>(TypeTag<T>) {
    Tensor data = parameters.data();
    T* p = data.data<T>();
    const T* g = parameters.gradients().data<T>();
    T* b = momentum_.defined() ? momentum_.data<T>() : nullptr;
    const bool first = step == 1;
    const T keep = static_cast<T>(first ? 0 : params_.momentum);
    const T take = static_cast<T>(first ? 1 : 1 - params_.dampening);
    const T look_ahead = static_cast<T>(params_.momentum);
    for_trainable(parameters, [&](const auto& segment, std::int64_t begin, std::int64_t end) {
      const T lr = static_cast<T>(learning_rate() * segment.lr_scale);
      const T decay = static_cast<T>(segment.weight_decay);
      if (!b) {
        for (std::int64_t i = begin; i < end; ++i) p[i] -= lr * (g[i] + decay * p[i]);
      } else if (params_.nesterov) {
        for (std::int64_t i = begin; i < end; ++i) {
          const T slope = g[i] + decay * p[i];
          b[i] = keep * b[i] + take * slope;
          p[i] -= lr * (slope + look_ahead * b[i]);
        }
      } else {
        for (std::int64_t i = begin; i < end; ++i) {
          b[i] = keep * b[i] + take * (g[i] + decay * p[i]);
          p[i] -= lr * b[i];
        }
      }
    });
  });
}

}  // namespace replk
