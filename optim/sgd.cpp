#include "optim/sgd.h"

#include "core/dispatch.h"
#include "optim/for_trainable.h"
#include "optim/updates.h"

namespace replk {
namespace {

template <class T>
void update_piece(const SgdUpdate<double>& u, bool nesterov, std::int64_t count, const T* g, T* p, T* b) {
  const T lr = static_cast<T>(u.lr), decay = static_cast<T>(u.weight_decay);
  const T keep = static_cast<T>(u.keep), take = static_cast<T>(u.take);
  const T look_ahead = static_cast<T>(u.look_ahead);
  if (!b) {
    for (std::int64_t i = 0; i < count; ++i) p[i] -= lr * (g[i] + decay * p[i]);
  } else if (nesterov) {
    for (std::int64_t i = 0; i < count; ++i) {
      const T slope = g[i] + decay * p[i];
      b[i] = keep * b[i] + take * slope;
      p[i] -= lr * (slope + look_ahead * b[i]);
    }
  } else {
    for (std::int64_t i = 0; i < count; ++i) {
      b[i] = keep * b[i] + take * (g[i] + decay * p[i]);
      p[i] -= lr * b[i];
    }
  }
}

}  // namespace

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

SgdUpdate<double> Sgd::update_of(const UpdateRange& range) const {
  const bool first = steps() == 1;
  return {.lr = learning_rate() * range.lr_scale,
          .weight_decay = range.weight_decay * weight_decay_scale(),
          .keep = first ? 0 : params_.momentum,
          .take = first ? 1 : 1 - params_.dampening,
          .look_ahead = params_.momentum};
}

void Sgd::update(const FlatParameters& parameters, const Tensor& norm) {
  Tensor data = parameters.data();
  const Tensor& gradients = parameters.gradients();
  const auto on_cpu = [&] {
    visit_real("sgd", data.dtype(), [&]<class T>(TypeTag<T>) {
      const T* g = gradients.data<T>();
      T *p = data.data<T>(), *b = momentum_.defined() ? momentum_.data<T>() : nullptr;
      for_trainable(parameters, [&](const UpdateRange& range, std::int64_t begin, std::int64_t end) {
        update_piece(update_of(range), params_.nesterov, end - begin, g + begin, p + begin,
                     b ? b + begin : nullptr);
      });
    });
  };
  const auto on_gpu = [&] {
    const auto ranges = parameters.trainable_ranges();
    const auto updates = updates_on_device<SgdUpdate<double>>(
        ranges, [this](const UpdateRange& range) { return update_of(range); });
    for (std::size_t i = 0; i < ranges.size(); ++i)
      cuda::sgd_update(ranges[i], updates[i], params_.nesterov, norm, gradients, data, momentum_);
  };
  dispatch("sgd", data.device(), on_cpu, on_gpu);
}

}  // namespace replk
