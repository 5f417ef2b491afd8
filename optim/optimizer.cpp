#include "optim/optimizer.h"

#include <cmath>
#include <utility>

#include "core/dispatch.h"
#include "core/replay.h"

namespace replk {

Optimizer::Optimizer(const char* name, FlatParameters& parameters, double learning_rate)
    : name_(name), parameters_(parameters) {
  set_learning_rate(learning_rate);
}

void Optimizer::set_learning_rate(double learning_rate) {
  check(std::isfinite(learning_rate) && learning_rate >= 0, name_,
        ": a learning rate of 0 or more expected, got ", learning_rate, ".");
  learning_rate_ = learning_rate;
}

void Optimizer::set_weight_decay_scale(double scale) {
  check(std::isfinite(scale) && scale >= 0, name_,
        ": a scale of the weight decay of 0 or more expected, got ", scale, ".");
  weight_decay_scale_ = scale;
}

void Optimizer::step(const Tensor& norm) {
  parameters_.complete_gradients();
  before_each_run([this, weights = parameters_.data()]() mutable {
    ++steps_;
    weights.raw();  // whose version says that they change
  });
  const bool on_cpu = parameters_.data().device().is_cpu();
  if (on_cpu && norm.defined() && !std::isfinite(norm.item())) return;
  update(parameters_, norm);
}

std::vector<Tensor> Optimizer::rows_on_device(
    const std::vector<UpdateRange>& ranges, std::size_t columns,
    std::function<std::vector<double>(const UpdateRange&)> row) const {
  const Tensor& weights = parameters_.data();
  const Shape shape({static_cast<std::int64_t>(ranges.size()), static_cast<std::int64_t>(columns)});
  const DType dtype = weights.dtype();
  const auto compute = [name = name_, dtype, shape, ranges, row = std::move(row)] {
    Tensor result;
    visit_real(name, dtype, [&]<class T>(TypeTag<T>) {
      std::vector<T> values;
      for (const UpdateRange& range : ranges)
        for (const double number : row(range)) values.push_back(static_cast<T>(number));
      result = Tensor::of(values, shape);
    });
    return result;
  };
  const Tensor numbers = renewed_each_run(shape, dtype, weights.device(), compute);
  std::vector<Tensor> rows;
  for (std::int64_t i = 0; i < numbers.size(0); ++i) rows.push_back(numbers.slice(i, i + 1));
  return rows;
}

Tensor Optimizer::add_buffer(const char* prefix) {
  return buffers_.emplace_back(prefix, zeros_like_flat(parameters_)).second;
}

std::map<std::string, Tensor> Optimizer::state() const {
  auto state = save_buffers(parameters_, buffers_);
  state.emplace("step", Tensor::of(std::vector<std::int64_t>{steps_}, {}));
  return state;
}

void Optimizer::load_state(const std::map<std::string, Tensor>& state) {
  const auto step = state.find("step");
  check(step != state.end(), name_, ": state: \"step\" is missing.");
  check(step->second.dtype() == DType::i64 && step->second.shape() == Shape{}, name_,
        ": state: \"step\" expected to be one i64, got ", step->second, ".");
  const std::int64_t steps = step->second.to(Device::cpu()).data<std::int64_t>()[0];
  check(steps >= 0, name_, ": state: \"step\" of 0 or more expected, got ", steps, ".");
  auto buffers = state;
  buffers.erase("step");
  load_buffers(name_, parameters_, buffers_, buffers);
  steps_ = steps;
}

}  // namespace replk
