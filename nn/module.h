// Module: something with parameters that maps a variable to a variable.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/tape.h"

namespace replk {

/// One entry of a model's state: its name in the published PyTorch model, and the tensor (shared, not
/// copied).
struct NamedTensor {
  std::string name;
  Tensor tensor;
};

/// What loading a state found out. Empty lists: everything fitted.
struct LoadReport {
  std::vector<std::string> missing;     // in the model, not in the file
  std::vector<std::string> unexpected;  // in the file, not in the model
  std::vector<std::string> mismatched;  // "name: (8, 1, 3, 3) expected, got (8, 1, 5, 5)"
  bool complete() const { return missing.empty() && unexpected.empty() && mismatched.empty(); }
};

/// A node of the model's tree: owns parameters (trained), buffers (running statistics) and children, each by
/// the name that the published PyTorch model gives it, so that "stages.2.blocks.0.pw1.conv.weight" is a path
/// through the tree.
class Module {
 public:
  Module() = default;
  virtual ~Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  /// Runs forward and tells the observers of this thread.
  Variable operator()(const Variable& x);

  /// Train mode (batch statistics, drop path) or eval mode, here and below.
  void train(bool on = true);
  void eval() { train(false); }
  bool training() const { return training_; }

  /// Random layers below draw from (seed, step, their own path) from now on: call it once a step.
  /// `first_sample`: the place of what comes next in the step's batch, where that is given in parts.
  void set_step(std::uint64_t seed, std::uint64_t step, std::int64_t first_sample = 0);

  /// Parameters in the order of registration, depth first; their `name` is the full path.
  std::vector<Parameter*> parameters();
  std::int64_t parameter_count();
  /// Where the parameters are; the CPU without any.
  Device device();
  /// Parameters and buffers by full name; tensors share the model's storage.
  std::vector<NamedTensor> state();
  /// Copies tensors into parameters and buffers by name, casting dtypes. Fits what fits and reports the rest.
  LoadReport load_state(const std::map<std::string, Tensor>& tensors);
  /// As load_state, but throws Error listing what did not fit (at most a few of each kind) unless all did.
  void load_state_strictly(const std::map<std::string, Tensor>& tensors, const std::string& source);

  /// Converts every floating-point parameter and buffer to f32 or f64.
  void to(DType dtype);
  /// Moves every floating-point parameter and buffer (counters stay on the CPU, which counts).
  void to(Device device);

  /// The path of this module in the tree whose root last called name_tree ("" for the root).
  const std::string& path() const { return path_; }
  /// "Conv2d 128 -> 256, 1x1": for summaries.
  virtual std::string describe() const { return ""; }
  /// Multiply-adds of one forward pass from `in` to `out` by this module itself, without its children.
  virtual std::int64_t macs(const Shape& in, const Shape& out) const;

  /// Calls f for this module and every one below, depth first.
  void visit(const std::function<void(Module&)>& f);

 protected:
  virtual Variable forward(const Variable& x) = 0;
  virtual void on_step(std::uint64_t /*seed*/, std::uint64_t /*step*/, std::int64_t /*first_sample*/) {}

  Parameter& add_parameter(const std::string& name, const Shape& shape);
  Tensor& add_buffer(const std::string& name, Tensor value);
  template <class M>
  std::shared_ptr<M> add_child(const std::string& name, std::shared_ptr<M> child) {
    children_.emplace_back(name, child);
    return child;
  }
  void remove_child(const std::string& name);
  /// Writes full paths into this module and everything below; the root calls it when its tree is complete or
  /// changed.
  void name_tree(const std::string& path = "");

 private:
  void convert(const std::function<Tensor(const Tensor&)>& f);

  struct Buffer {
    std::string name;
    Tensor tensor;
  };
  std::vector<std::pair<std::string, std::shared_ptr<Module>>> children_;
  std::deque<Parameter> parameters_;  // a deque: addresses must not change
  std::deque<std::string> parameter_names_;
  std::deque<Buffer> buffers_;
  std::string path_;
  bool training_ = true;
};

/// Children named "0", "1", ... run one after the other.
class Sequential : public Module {
 public:
  template <class M>
  std::shared_ptr<M> append(std::shared_ptr<M> module) {
    items_.push_back(module);
    return add_child(std::to_string(items_.size() - 1), module);
  }
  std::size_t size() const { return items_.size(); }
  Module& operator[](std::size_t i) { return *items_.at(i); }

 protected:
  Variable forward(const Variable& x) override;

 private:
  std::vector<std::shared_ptr<Module>> items_;
};

/// While it lives, is told of every module that ran on this thread: (module, input, output). Innermost
/// modules come first. Summaries, receptive fields and the search for the first NaN are observers.
class ModuleObserver {
 public:
  using Callback = std::function<void(Module&, const Variable& in, const Variable& out)>;
  explicit ModuleObserver(Callback callback);
  ~ModuleObserver();
  ModuleObserver(const ModuleObserver&) = delete;
  ModuleObserver& operator=(const ModuleObserver&) = delete;

 private:
  friend class Module;
  Callback callback_;
  ModuleObserver* outer_;
};

}  // namespace replk
