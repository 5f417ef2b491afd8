#include "core/tape.h"

#include <algorithm>
#include <atomic>
#include <utility>

namespace replk {
namespace {

thread_local Tape* current_tape = nullptr;
thread_local bool in_recomputation = false;
std::atomic<std::uint64_t> next_tape_id{1};

/// Sets a value for the length of a scope.
template <class T>
class Scoped {
 public:
  Scoped(T& place, T value) : place_(place), before_(std::exchange(place, value)) {}
  ~Scoped() { place_ = before_; }
  Scoped(const Scoped&) = delete;
  Scoped& operator=(const Scoped&) = delete;

 private:
  T& place_;
  T before_;
};

}  // namespace

GradTarget Parameter::grad_target() {
  if (!grad.defined()) grad = Tensor::empty_like(data);
  return {grad, std::exchange(grad_ready, true)};
}

Tape::Tape() : id_(next_tape_id++), outer_(std::exchange(current_tape, this)) {}
Tape::~Tape() { current_tape = outer_; }
Tape* Tape::current() { return current_tape; }
bool Tape::recomputing() { return in_recomputation; }

int Tape::new_slot(const Tensor& value, bool watched) {
  slots_.push_back({{}, watched, value.shape(), value.dtype(), value.device()});
  return static_cast<int>(slots_.size()) - 1;
}

Variable Tape::watch(const Tensor& data) {
  Variable variable(data);
  variable.slot_ = new_slot(data, true);
  variable.tape_id_ = id_;
  return variable;
}

Tensor Tape::gradient(const Variable& watched) const {
  check(watched.tape_id_ == id_ && watched.slot_ >= 0 && slots_[watched.slot_].watched,
        "Tape::gradient: the variable was not made by watch() of this tape.");
  const Slot& slot = slots_[watched.slot_];
  return slot.grad.defined() ? slot.grad : Tensor::zeros(slot.shape, slot.dtype, slot.device);
}

Tape::Input Tape::input_of(const char* op, const Variable& variable) const {
  if (variable.parameter_) return {-1, variable.parameter_->trainable ? variable.parameter_ : nullptr};
  check(variable.slot_ < 0 || variable.tape_id_ == id_, op,
        ": an input was recorded on another tape. Use a variable only while its own tape is the innermost.");
  return {variable.slot_, nullptr};
}

void Tape::backward(const Variable& loss) {
  check(loss.defined() && loss.data().numel() == 1, "backward: a loss of one element expected, got ",
        loss.data(), ". Give the gradient of the output as second argument.");
  backward(loss, Tensor::full(loss.shape(), 1.0, loss.data().dtype(), loss.data().device()));
}

void Tape::backward(const Variable& y, const Tensor& dy) {
  check(y.tape_id_ == id_ && y.slot_ >= 0,
        "backward: the variable is not on this tape, or depends on no parameter and no watched leaf.");
  check(dy.shape() == y.shape() && dy.dtype() == y.data().dtype(), "backward: gradient of ", y.data(),
        " expected, got ", dy, ".");
  slots_[y.slot_].grad = dy;
  const Scoped<Tape*> silence(current_tape, nullptr);  // what backward kernels call must not be recorded
  for (; !nodes_.empty(); nodes_.pop_back()) {
    Node& node = nodes_.back();
    Slot& output = slots_[node.output];
    if (!output.grad.defined()) continue;  // nothing that y depends on
    const Tensor gradient = output.watched ? output.grad : std::exchange(output.grad, Tensor());
    GradSink sink(*this, node);
    node.backward(node.saved, gradient, sink);
  }
}

bool GradSink::wants(int i) const {
  const Tape::Input& input = node_.inputs.at(static_cast<std::size_t>(i));
  return input.slot >= 0 || input.parameter;
}

GradTarget GradSink::into(int i) {
  check(wants(i), node_.name, ": backward asked for the gradient of input ", i, ", which nobody wants.");
  const Tape::Input& input = node_.inputs[static_cast<std::size_t>(i)];
  if (input.parameter) return input.parameter->grad_target();
  Tape::Slot& slot = tape_.slots_[input.slot];
  if (!slot.grad.defined()) {
    slot.grad = Tensor::empty(slot.shape, slot.dtype, slot.device);
    return {slot.grad, false};
  }
  if (!slot.grad.unique()) slot.grad = slot.grad.clone();  // shared through try_share: others still read it
  return {slot.grad, true};
}

bool GradSink::try_share(int i, const Tensor& dy) {
  const Tape::Input& input = node_.inputs.at(static_cast<std::size_t>(i));
  if (input.slot < 0 || tape_.slots_[input.slot].grad.defined()) return false;
  const Tape::Slot& slot = tape_.slots_[input.slot];
  check(dy.shape() == slot.shape && dy.dtype() == slot.dtype, node_.name, ": backward gave ", dy,
        " as gradient of ", slot.dtype, " ", slot.shape, ".");
  tape_.slots_[input.slot].grad = dy;
  return true;
}

Variable record(const char* name, const Tensor& y, std::span<const Variable> inputs, Saved saved,
                Backward backward) {
  Variable result(y);
  Tape* tape = current_tape;
  if (!tape) return result;
  std::vector<Tape::Input> places;
  places.reserve(inputs.size());
  for (const Variable& input : inputs) places.push_back(tape->input_of(name, input));
  const auto wanted = [](const Tape::Input& input) { return input.slot >= 0 || input.parameter; };
  if (std::none_of(places.begin(), places.end(), wanted)) return result;
  result.slot_ = tape->new_slot(y, false);
  result.tape_id_ = tape->id_;
  tape->nodes_.push_back({name, result.slot_, std::move(places), std::move(saved), std::move(backward)});
  return result;
}

Variable checkpoint(const std::function<Variable(const Variable&)>& f, const Variable& x) {
  Tape* tape = current_tape;
  if (!tape) return f(x);
  // Parameters inside f are no inputs of the node: the inner tape gives them their gradients. So the node
  // must exist even when x is a constant (the images), or they would silently get none.
  const Variable input = tape->input_of("checkpoint", x).slot >= 0 ? x : tape->watch(x.data());
  Tensor y;
  {
    const Scoped<Tape*> silence(current_tape, nullptr);
    y = f(Variable(x.data())).data();
  }
  return record(
      "checkpoint", y, {input}, {x.data()}, [f](const Saved& saved, const Tensor& dy, GradSink& grads) {
        const Scoped<bool> again(in_recomputation, true);
        Tape inner;
        const Variable again_x = inner.watch(saved[0]);
        const Variable again_y = f(again_x);
        if (again_y.slot_ < 0) return;  // f depends on nothing that wants a gradient
        Tensor& outer_grad = grads.tape_.slots_[grads.node_.inputs[0].slot].grad;
        Tensor& inner_grad = inner.slots_[again_x.slot_].grad;
        inner_grad =
            std::exchange(outer_grad, Tensor());  // other uses of x may have contributed already: add to that
        inner.backward(again_y, dy);
        outer_grad = std::exchange(inner.slots_[again_x.slot_].grad, Tensor());
      });
}

}  // namespace replk
