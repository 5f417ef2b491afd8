#include "optim/flat_parameters.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/dispatch.h"
#include "core/parallel.h"
#include "optim/updates.h"

namespace replk {
namespace {

constexpr std::int64_t kAlignment = 64;      // bytes: a cache line, and the widest vector
constexpr std::int64_t kSumBlock = 1 << 14;  // elements summed by one thread in a fixed order

Tensor view_of(const Tensor& flat, const FlatParameters::Segment& segment) {
  return flat.slice(segment.begin, segment.end).view(segment.parameter->data.shape());
}

void check_group(const ParameterGroup& group) {
  const auto check_factor = [&](const char* what, double value) {
    check(std::isfinite(value) && value >= 0, "optimizer: group \"", group.name, "\": ", what,
          " of 0 or more expected, got ", value, ".");
  };
  check_factor("lr_scale", group.lr_scale);
  check_factor("weight_decay", group.weight_decay);
}

// Eight running sums, so that additions do not wait for each other.
template <class T>
double sum_of_squares(const T* values, std::int64_t count) {
  constexpr std::int64_t kLanes = 8;
  double lanes[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      const auto value = static_cast<double>(values[i + lane]);
      lanes[lane] += value * value;
    }
  for (std::int64_t lane = 0; i < count; ++i, ++lane) {
    const auto value = static_cast<double>(values[i]);
    lanes[lane] += value * value;
  }
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

double l2_norm(const Tensor& gradients) {
  const std::int64_t count = gradients.numel();
  std::vector<double> sums(static_cast<std::size_t>((count + kSumBlock - 1) / kSumBlock));
  visit_real("grad_norm", gradients.dtype(), [&]<class T>(TypeTag<T>) {
    const T* values = gradients.data<T>();
    parallel_for(static_cast<std::int64_t>(sums.size()), 2, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t b = begin; b < end; ++b)
        sums[static_cast<std::size_t>(b)] =
            sum_of_squares(values + b * kSumBlock, std::min(kSumBlock, count - b * kSumBlock));
    });
  });
  double sum = 0;
  for (const double block : sums) sum += block;
  return std::sqrt(sum);
}

void multiply(Tensor& gradients, double scale) {
  visit_real("clip_grad_norm", gradients.dtype(), [&]<class T>(TypeTag<T>) {
    T* values = gradients.data<T>();
    const T factor = static_cast<T>(scale);
    parallel_for(gradients.numel(), 2 * kSumBlock, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) values[i] *= factor;
    });
  });
}

}  // namespace

std::vector<ParameterGroup> split_decay_groups(const std::vector<Parameter*>& parameters,
                                               double weight_decay) {
  ParameterGroup decay{.name = "decay", .parameters = {}, .weight_decay = weight_decay};
  ParameterGroup no_decay{.name = "no_decay", .parameters = {}};
  for (Parameter* parameter : parameters) {
    check(parameter != nullptr, "split_decay_groups: a parameter is null.");
    const bool spared = parameter->data.rank() <= 1 || parameter->name.ends_with(".bias");
    (spared ? no_decay : decay).parameters.push_back(parameter);
  }
  std::vector<ParameterGroup> groups;
  for (ParameterGroup* group : {&decay, &no_decay})
    if (!group->parameters.empty()) groups.push_back(std::move(*group));
  return groups;
}

std::vector<ParameterGroup> layer_decay_groups(
    const std::vector<Parameter*>& parameters, double weight_decay, double layer_decay, std::int64_t layers,
    const std::function<std::int64_t(const std::string&)>& layer_of) {
  check(layer_decay > 0 && std::isfinite(layer_decay) && layers >= 1,
        "layer_decay_groups: a layer_decay above 0 and at least one layer expected, got ", layer_decay,
        " and ", layers, ".");
  std::vector<std::vector<Parameter*>> by_layer(static_cast<std::size_t>(layers));
  for (Parameter* parameter : parameters) {
    check(parameter != nullptr, "layer_decay_groups: a parameter is null.");
    const std::int64_t layer = layer_of(parameter->name);
    check(layer >= 0 && layer < layers, "layer_decay_groups: a layer in [0, ", layers, ") expected for \"",
          parameter->name, "\", got ", layer, ".");
    by_layer[static_cast<std::size_t>(layer)].push_back(parameter);
  }
  std::vector<ParameterGroup> groups;
  for (std::int64_t layer = 0; layer < layers; ++layer)
    for (ParameterGroup& group :
         split_decay_groups(by_layer[static_cast<std::size_t>(layer)], weight_decay)) {
      group.name = str("layer ", layer, " ", group.name);
      group.lr_scale = std::pow(layer_decay, static_cast<double>(layers - 1 - layer));
      groups.push_back(std::move(group));
    }
  return groups;
}

FlatParameters::FlatParameters(const std::vector<ParameterGroup>& groups) {
  std::set<std::string> names;
  const Parameter* first = nullptr;
  std::int64_t total = 0;
  for (const ParameterGroup& group : groups) {
    check_group(group);
    for (Parameter* parameter : group.parameters) {
      check(parameter && parameter->data.defined(), "optimizer: group \"", group.name, "\": parameter \"",
            parameter ? parameter->name : "", "\" is ", parameter ? "without data." : "null.");
      const Tensor& data = parameter->data;
      if (!first) first = parameter;
      check(data.dtype() == DType::f32 || data.dtype() == DType::f64, "optimizer: parameter \"",
            parameter->name, "\": f32 or f64 expected, got ", data, ".");
      check(data.dtype() == first->data.dtype() && data.device() == first->data.device(),
            "optimizer: one dtype and device expected, \"", first->name, "\" is ", first->data, ", \"",
            parameter->name, "\" is ", data, ".");
      check(names.insert(parameter->name).second, "optimizer: parameter \"", parameter->name,
            "\" appears twice (in group \"", group.name, "\" the second time).");
      segments_.push_back({parameter, total, total + data.numel(), group.lr_scale, group.weight_decay});
      const std::int64_t step = kAlignment / static_cast<std::int64_t>(size_of(data.dtype()));
      total += (data.numel() + step - 1) / step * step;
    }
  }
  check(first != nullptr, "optimizer: at least one parameter expected, got none.");
  data_ = Tensor::zeros({total}, first->data.dtype(), first->data.device());
  gradients_ = Tensor::zeros({total}, first->data.dtype(), first->data.device());
  for (const Segment& segment : segments_) {
    Parameter& parameter = *segment.parameter;
    Tensor data = view_of(data_, segment), grad = view_of(gradients_, segment);
    data.copy_from(parameter.data);
    if (parameter.grad_ready) grad.copy_from(parameter.grad);
    parameter.data = data;
    parameter.grad = grad;
  }
}

std::vector<UpdateRange> FlatParameters::trainable_ranges() const {
  std::vector<UpdateRange> ranges;
  bool open = false;  // the segment before belongs to the last range; what lies between is 0 and stays so
  for (const Segment& segment : segments_) {
    if (!segment.parameter->trainable) {
      open = false;
      continue;
    }
    if (open && ranges.back().lr_scale == segment.lr_scale &&
        ranges.back().weight_decay == segment.weight_decay)
      ranges.back().end = segment.end;
    else
      ranges.push_back({segment.begin, segment.end, segment.lr_scale, segment.weight_decay});
    open = true;
  }
  return ranges;
}

void FlatParameters::zero_grad() {
  for (const Segment& segment : segments_) segment.parameter->grad_ready = false;
}

void FlatParameters::check_still_views() const {
  for (const Segment& segment : segments_) {
    const Parameter& parameter = *segment.parameter;
    const auto is_view = [&](const Tensor& tensor, const Tensor& flat) {
      return tensor.shares_storage(flat) && tensor.numel() == segment.end - segment.begin &&
             tensor.raw() == flat.slice(segment.begin, segment.end).raw();
    };
    check(is_view(parameter.data, data_) && is_view(parameter.grad, gradients_), "optimizer: parameter \"",
          parameter.name,
          "\" was given another tensor after its optimizer was made. Write into the one it has (copy_from).");
  }
}

void FlatParameters::complete_gradients() {
  check_still_views();
  for (const Segment& segment : segments_) {
    Parameter& parameter = *segment.parameter;
    if (parameter.grad_ready && parameter.trainable) continue;
    parameter.grad.fill(0);
    parameter.grad_ready = true;
  }
}

Tensor FlatParameters::grad_norm() {
  complete_gradients();
  Tensor norm = Tensor::empty({}, DType::f64, gradients_.device());
  dispatch(
      "grad_norm", gradients_.device(), [&] { *norm.data<double>() = l2_norm(gradients_); },
      [&] { cuda::l2_norm(gradients_, norm); });
  return norm;
}

Tensor FlatParameters::clip_grad_norm(double max_norm) {
  check(max_norm > 0, "clip_grad_norm: max_norm > 0 expected, got ", max_norm, ".");
  const Tensor norm = grad_norm();
  dispatch(
      "clip_grad_norm", gradients_.device(),
      [&] {
        const double length = *norm.data<double>(), scale = max_norm / (length + 1e-6);
        if (std::isfinite(length) && scale < 1) multiply(gradients_, scale);
      },
      [&] { cuda::clip(gradients_, norm, max_norm); });
  return norm;
}

Tensor zeros_like_flat(const FlatParameters& parameters) {
  const Tensor& data = parameters.data();
  return Tensor::zeros(data.shape(), data.dtype(), data.device());
}

std::map<std::string, Tensor> save_buffers(const FlatParameters& parameters, const NamedBuffers& buffers) {
  std::map<std::string, Tensor> state;
  for (const auto& [prefix, flat] : buffers)
    for (const auto& segment : parameters.segments())
      state.emplace(prefix + "." + segment.parameter->name, view_of(flat, segment).clone());
  return state;
}

void load_buffers(const char* owner, const FlatParameters& parameters, const NamedBuffers& buffers,
                  const std::map<std::string, Tensor>& state) {
  std::map<std::string, Tensor> places;
  for (const auto& [prefix, flat] : buffers)
    for (const auto& segment : parameters.segments())
      places.emplace(prefix + "." + segment.parameter->name, view_of(flat, segment));
  for (const auto& [name, place] : places) {
    const auto found = state.find(name);
    check(found != state.end(), owner, ": state: \"", name, "\" is missing.");
    check(found->second.shape() == place.shape() && found->second.dtype() == place.dtype(), owner,
          ": state: \"", name, "\": ", place.dtype(), " ", place.shape(), " expected, got ", found->second,
          ".");
  }
  for (const auto& [name, tensor] : state)
    check(places.contains(name), owner, ": state: \"", name, "\" belongs to no parameter here.");
  for (auto& [name, place] : places) place.copy_from(state.at(name));
}

}  // namespace replk
