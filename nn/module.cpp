#include "nn/module.h"

#include <algorithm>
#include <set>
#include <utility>

#include "core/random.h"
#include "ops/primitives/elementwise.h"

namespace replk {
namespace {

thread_local ModuleObserver* innermost_observer = nullptr;

std::string joined(const std::string& path, const std::string& name) {
  return path.empty() ? name : path + "." + name;
}

// "a, b, c and 12 more"
std::string list(const std::vector<std::string>& names) {
  constexpr std::size_t kShown = 4;
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kShown); ++i) text += (i ? ", " : "") + names[i];
  if (names.size() > kShown) text += " and " + std::to_string(names.size() - kShown) + " more";
  return text;
}

}  // namespace

ModuleObserver::ModuleObserver(Callback callback)
    : callback_(std::move(callback)), outer_(std::exchange(innermost_observer, this)) {}
ModuleObserver::~ModuleObserver() { innermost_observer = outer_; }

Variable Module::operator()(const Variable& x) {
  Variable y = forward(x);
  for (ModuleObserver* observer = innermost_observer; observer; observer = observer->outer_)
    observer->callback_(*this, x, y);
  return y;
}

void Module::visit(const std::function<void(Module&)>& f) {
  f(*this);
  for (const auto& [name, child] : children_) child->visit(f);
}

void Module::train(bool on) {
  visit([on](Module& module) { module.training_ = on; });
}

void Module::set_step(std::uint64_t seed, std::uint64_t step, std::int64_t first_sample) {
  visit([=](Module& module) { module.on_step(seed, step, first_sample); });
}

std::vector<Parameter*> Module::parameters() {
  std::vector<Parameter*> all;
  visit([&](Module& module) {
    for (Parameter& parameter : module.parameters_) all.push_back(&parameter);
  });
  return all;
}

std::int64_t Module::parameter_count() {
  std::int64_t count = 0;
  for (const Parameter* parameter : parameters()) count += parameter->data.numel();
  return count;
}

Device Module::device() {
  const auto all = parameters();
  return all.empty() ? Device::cpu() : all.front()->data.device();
}

std::vector<NamedTensor> Module::state() {
  std::vector<NamedTensor> all;
  visit([&](Module& module) {
    for (std::size_t i = 0; i < module.parameters_.size(); ++i)
      all.push_back({joined(module.path_, module.parameter_names_[i]), module.parameters_[i].data});
    for (const Buffer& buffer : module.buffers_)
      all.push_back({joined(module.path_, buffer.name), buffer.tensor});
  });
  return all;
}

namespace {

// What of `tensors` fits into `state`, which stays as it is.
LoadReport compare_state(const std::vector<NamedTensor>& state,
                         const std::map<std::string, Tensor>& tensors) {
  LoadReport report;
  std::set<std::string> known;
  for (const NamedTensor& entry : state) {
    known.insert(entry.name);
    const auto found = tensors.find(entry.name);
    if (found == tensors.end())
      report.missing.push_back(entry.name);
    else if (found->second.shape() != entry.tensor.shape())
      report.mismatched.push_back(
          str(entry.name, ": ", entry.tensor.shape(), " expected, got ", found->second.shape()));
  }
  for (const auto& [name, tensor] : tensors)
    if (!known.contains(name)) report.unexpected.push_back(name);
  return report;
}

}  // namespace

LoadReport Module::load_state(const std::map<std::string, Tensor>& tensors) {
  std::vector<NamedTensor> own = state();
  LoadReport report = compare_state(own, tensors);
  for (NamedTensor& entry : own)
    if (const auto found = tensors.find(entry.name);
        found != tensors.end() && found->second.shape() == entry.tensor.shape())
      entry.tensor.copy_from(cast(found->second, entry.tensor.dtype()));
  return report;
}

void Module::load_state_strictly(const std::map<std::string, Tensor>& tensors, const std::string& source) {
  // Look before copying, so that a state that does not fit leaves the model as it was.
  const LoadReport report = compare_state(state(), tensors);
  if (!report.complete()) {
    std::string message = source + ": these weights are of another model.";
    if (!report.missing.empty()) message += " Missing: " + list(report.missing) + ".";
    if (!report.unexpected.empty()) message += " Unexpected: " + list(report.unexpected) + ".";
    if (!report.mismatched.empty()) message += " Of another shape: " + list(report.mismatched) + ".";
    throw Error(message);
  }
  load_state(tensors);
}

void Module::convert(const std::function<Tensor(const Tensor&)>& f) {
  visit([&f](Module& module) {
    for (Parameter& parameter : module.parameters_) {
      parameter.data = f(parameter.data);
      parameter.grad = Tensor();
      parameter.grad_ready = false;
    }
    for (Buffer& buffer : module.buffers_)
      if (is_floating(buffer.tensor.dtype())) buffer.tensor = f(buffer.tensor);
  });
}

void Module::to(DType dtype) {
  check(dtype == DType::f32 || dtype == DType::f64, "Module::to: f32 or f64 expected, got ", dtype,
        ". Parameters stay f32 beside activations of bf16 and f16.");
  convert([dtype](const Tensor& tensor) { return cast(tensor, dtype); });
}

void Module::to(Device device) {
  convert([device](const Tensor& tensor) { return tensor.to(device); });
}

std::int64_t Module::macs(const Shape&, const Shape&) const { return 0; }

Parameter& Module::add_parameter(const std::string& name, const Shape& shape) {
  parameter_names_.push_back(name);
  return parameters_.emplace_back(name, Tensor::zeros(shape));
}

Tensor& Module::add_buffer(const std::string& name, Tensor value) {
  return buffers_.emplace_back(Buffer{name, std::move(value)}).tensor;
}

void Module::remove_child(const std::string& name) {
  std::erase_if(children_, [&](const auto& entry) { return entry.first == name; });
}

void Module::name_tree(const std::string& path) {
  path_ = path;
  for (std::size_t i = 0; i < parameters_.size(); ++i)
    parameters_[i].name = joined(path, parameter_names_[i]);
  for (const auto& [name, child] : children_) child->name_tree(joined(path, name));
}

Variable Sequential::forward(const Variable& x) {
  Variable y = x;
  for (const auto& item : items_) y = (*item)(y);
  return y;
}

}  // namespace replk
