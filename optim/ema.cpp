#include "optim/ema.h"

#include <utility>

#include "core/dispatch.h"
#include "optim/for_trainable.h"
#include "optim/updates.h"

namespace replk {
namespace {

// f(value, average) for every element, on the CPU.
template <class F>
void for_pairs(const char* name, Tensor data, Tensor average, const F& f) {
  visit_real(name, data.dtype(), [&]<class T>(TypeTag<T>) {
    T *value = data.data<T>(), *mean = average.data<T>();
    parallel_for(data.numel(), kElementsPerThread, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) f(value[i], mean[i]);
    });
  });
}

// All pairs of a dtype at once: on a GPU a launch for each small one would take longer than its work.
void update_averages(double take, Device device, const std::vector<cuda::EmaPair>& pairs) {
  const auto on_cpu = [&] {
    for (const auto& [data, average] : pairs)
      for_pairs("ema", data, average,
                [take]<class T>(const T& value, T& mean) { mean += static_cast<T>(take) * (value - mean); });
  };
  dispatch("ema", device, on_cpu, [&] { cuda::ema_update(take, pairs); });
}

void exchange(const Tensor& data, const Tensor& average) {
  const auto on_cpu = [&] {
    for_pairs("ema.swap", data, average, []<class T>(T& value, T& mean) { std::swap(value, mean); });
  };
  dispatch("ema.swap", data.device(), on_cpu, [&] { cuda::swap(data, average); });
}

}  // namespace

Ema::Ema(FlatParameters& parameters, double decay, NamedBuffers buffers)
    : parameters_(parameters),
      decay_(decay),
      average_(parameters.data().clone()),
      buffers_(std::move(buffers)) {
  check(decay >= 0 && decay < 1, "ema: decay in [0, 1) expected, got ", decay, ".");
  for (const auto& [name, buffer] : buffers_) {
    check(buffer.dtype() == DType::f32 || buffer.dtype() == DType::f64, "ema: buffer \"", name,
          "\": f32 or f64 expected, got ", buffer, ".");
    buffer_averages_.emplace_back(name, buffer.clone());
  }
}

void Ema::update() {
  std::vector<cuda::EmaPair> pairs = {{parameters_.data(), average_}};
  for (std::size_t i = 0; i < buffers_.size(); ++i)
    pairs.push_back({buffers_[i].second, buffer_averages_[i].second});
  update_averages(1 - decay_, average_.device(), pairs);
}

void Ema::swap() {
  exchange(parameters_.data(), average_);
  for (std::size_t i = 0; i < buffers_.size(); ++i) exchange(buffers_[i].second, buffer_averages_[i].second);
}

std::map<std::string, Tensor> Ema::state() const {
  auto state = save_buffers(parameters_, {{"ema", average_}});
  for (const auto& [name, average] : buffer_averages_) state.emplace("ema." + name, average.clone());
  return state;
}

void Ema::load_state(const std::map<std::string, Tensor>& state) {
  auto rest = state;
  for (const auto& [name, average] : buffer_averages_) {
    const auto found = rest.extract("ema." + name);
    check(!found.empty(), "ema: state: \"ema.", name, "\" is missing.");
    check(found.mapped().shape() == average.shape() && found.mapped().dtype() == average.dtype(),
          "ema: state: \"ema.", name, "\": ", average.dtype(), " ", average.shape(), " expected, got ",
          found.mapped(), ".");
  }
  load_buffers("ema", parameters_, {{"ema", average_}}, rest);
  for (auto& [name, average] : buffer_averages_) average.copy_from(state.at("ema." + name));
}

}  // namespace replk
