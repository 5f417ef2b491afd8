// Activation: the function of one element that an operator applies to its result before it leaves the
// registers.
#pragma once

namespace replk {

/// Of batch_norm2d, conv2d and linear, whose output is then `activation(what it would be without)`: the same
/// numbers that the operators `relu` and `gelu` give, without a pass over memory of their own.
enum class Activation { none, relu, gelu };

/// "relu": for descriptions and errors.
constexpr const char* name_of(Activation activation) {
  return activation == Activation::relu ? "relu" : activation == Activation::gelu ? "gelu" : "none";
}

}  // namespace replk
