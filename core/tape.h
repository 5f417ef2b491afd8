// Autograd: Variable, Parameter and the Tape, an explicit list of what ran, read backwards once.
#pragma once

#include <functional>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace replk {

/// Where a backward kernel puts a gradient: overwrites `tensor`, or adds to what is there when `accumulate`
/// is set. Kernels write straight into it, so that no temporary and no extra pass is needed.
struct GradTarget {
  Tensor tensor;
  bool accumulate = false;
};

/// A named leaf that outlives a step: a weight, its gradient, and whether the gradient holds anything yet.
/// The first backward kernel of a step overwrites `grad`, later ones add to it, so nobody has to zero it.
struct Parameter {
  std::string name;
  Tensor data;
  Tensor grad;
  bool grad_ready = false;  // grad holds the sum of this step's contributions so far
  bool trainable = true;

  Parameter() = default;
  Parameter(std::string name_, Tensor data_) : name(std::move(name_)), data(std::move(data_)) {}
  Parameter(const Parameter&) = delete;  // variables and tapes point at it
  Parameter& operator=(const Parameter&) = delete;

  /// Memory for a gradient contribution; allocates `grad` on first use.
  GradTarget grad_target();
};

/// Tensors kept for backward, in the order in which the operator listed them.
using Saved = std::vector<Tensor>;

class GradSink;
/// Receives what was saved and the gradient dy of the output; puts gradients of the inputs into the sink.
using Backward = std::function<void(const Saved& saved, const Tensor& dy, GradSink& grads)>;

/// A Tensor and its place on a tape. Made from a Tensor it is a constant; made from a Parameter it is a leaf.
/// Cheap to copy. Default-constructed it stands for an absent optional input (a convolution without bias).
class Variable {
 public:
  Variable() = default;
  Variable(Tensor data) : data_(std::move(data)) {}  // NOLINT: a constant where a variable is expected
  Variable(Parameter& parameter) : data_(parameter.data), parameter_(&parameter) {}  // NOLINT: likewise

  bool defined() const { return data_.defined(); }
  const Tensor& data() const { return data_; }
  const Shape& shape() const { return data_.shape(); }

 private:
  friend class Tape;
  friend Variable record(const char*, const Tensor&, std::span<const Variable>, Saved, Backward);
  friend Variable checkpoint(const std::function<Variable(const Variable&)>&, const Variable&);
  Tensor data_;
  Parameter* parameter_ = nullptr;
  int slot_ = -1;              // index of its gradient on the tape, -1 when none is wanted
  std::uint64_t tape_id_ = 0;  // which tape: a variable must not be mixed into another one
};

/// A scoped Wengert list. While it lives, operators called on this thread are recorded; `backward` runs the
/// list in reverse once and frees gradients and saved tensors as it goes. Tapes nest: the innermost records.
class Tape {
 public:
  Tape();
  ~Tape();
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  /// The tape that records on this thread, or nullptr.
  static Tape* current();
  /// True inside the second forward pass of a checkpoint: running statistics must not move twice.
  static bool recomputing();

  /// A leaf whose gradient can be asked for after backward (inputs, tests, receptive fields).
  Variable watch(const Tensor& data);
  /// Gradient of a watched leaf; zeros when nothing depended on it.
  Tensor gradient(const Variable& watched) const;

  /// d loss / d everything, for a loss of one element.
  void backward(const Variable& loss);
  /// Vector-Jacobian product: seeds the gradient of `y` with `dy` (same shape and dtype).
  void backward(const Variable& y, const Tensor& dy);

  /// Nodes recorded so far.
  std::size_t size() const { return nodes_.size(); }

 private:
  friend class GradSink;
  friend Variable record(const char*, const Tensor&, std::span<const Variable>, Saved, Backward);
  friend Variable checkpoint(const std::function<Variable(const Variable&)>&, const Variable&);

  struct Input {
    int slot;
    Parameter* parameter;
  };
  struct Node {
    const char* name;
    int output;
    std::vector<Input> inputs;
    Saved saved;
    Backward backward;
  };
  struct Slot {
    Tensor grad;   // undefined until something contributes
    bool watched;  // kept after backward
    Shape shape;   // of the value, whose storage the tape does not hold
    DType dtype;
    Device device;
  };

  int new_slot(const Tensor& value, bool watched);
  Input input_of(const char* op, const Variable& variable) const;

  std::uint64_t id_;
  Tape* outer_;
  std::vector<Node> nodes_;
  std::vector<Slot> slots_;
};

/// Hands a backward function the memory for the gradients of its operator's inputs.
class GradSink {
 public:
  /// True when the gradient of input i is needed at all.
  bool wants(int i) const;
  /// Memory for the gradient of input i: to overwrite the first time, to add to afterwards.
  GradTarget into(int i);
  /// Offers `dy` itself as the gradient of input i, without a copy. False when something is there already, or
  /// the input is a parameter: then add it through into(i). (`pass_gradient` in ops/primitives does both.)
  bool try_share(int i, const Tensor& dy);

 private:
  friend class Tape;
  friend Variable checkpoint(const std::function<Variable(const Variable&)>&, const Variable&);
  GradSink(Tape& tape, const Tape::Node& node) : tape_(tape), node_(node) {}
  Tape& tape_;
  const Tape::Node& node_;
};

/// Puts an operator on the current tape and returns its output as a variable. Without a tape, or when no
/// input wants a gradient, keeps nothing. `name` must be a literal.
Variable record(const char* name, const Tensor& y, std::span<const Variable> inputs, Saved saved,
                Backward backward);
inline Variable record(const char* name, const Tensor& y, std::initializer_list<Variable> inputs, Saved saved,
                       Backward backward) {
  return record(name, y, std::span(inputs.begin(), inputs.size()), std::move(saved), std::move(backward));
}

/// Runs f(x) without keeping its activations; backward runs it again with a tape of its own. Trades one more
/// forward pass for the memory of everything inside. f must be deterministic: random numbers keyed by step
/// and layer are.
Variable checkpoint(const std::function<Variable(const Variable&)>& f, const Variable& x);

}  // namespace replk
