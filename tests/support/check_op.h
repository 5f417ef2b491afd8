// check_op: one description of an operator call; everything an operator must satisfy is checked from it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/tape.h"

namespace replk::test {

using Values = std::vector<double>;

/// What to run and what to compare it with.
struct OpCase {
  std::string name;
  /// f64 tensors on the CPU. Gradients are checked for all of them unless `differentiable` says otherwise.
  std::vector<Tensor> inputs;
  /// Calls the operator; must not depend on anything but its arguments, whose dtype it must follow.
  std::function<Variable(const std::vector<Variable>&)> op;
  /// The output by definition: loops in double over the elements of the inputs, written from the formula.
  std::function<Values(const std::vector<Values>&)> reference;
  /// Products summed in one output element, and in one gradient element: they set the f32 bounds.
  double terms = 1;
  double gradient_terms = 1;
  std::vector<bool> differentiable = {};
  /// Inputs in which the operator is linear: the adjoint identity <A x, dy> = <x, A^T dy> is checked for
  /// them.
  std::vector<int> linear_in = {};
  /// Inputs, where there are as many, that stay in f32 where the others are bf16 or f16: parameters.
  std::vector<int> full_precision = {};
};

/// Checks, each as an assertion that names the case:
///  1. forward in f64 against the reference, to 1e-12 relative; in f32 within eps * (8 + 4 sqrt(terms)) of
///  the largest;
///  2. backward in f64 against central differences with a random cotangent, along random directions and
///  coordinates;
///  3. backward in f32 against backward in f64, within a bound from eps and gradient_terms;
///  4. gradients added to pre-filled ones, exactly;
///  5. the same bits on a second run, and for 1 and 3 threads;
///  6. the adjoint identity where the operator is linear;
///  7. where there is a GPU: on CUDA in f64, f32, bf16 and f16 forward and all gradients against the CPU in
///     f64 on the same rounded inputs, added to pre-filled gradients, and the same bits on a second run.
///     Without a GPU, or where the operator has no CUDA kernel, that is counted (tests/support/cuda.h).
void check_op(const OpCase& c);

/// `tensor` on the device of x, and in its dtype if both are floating: for tensors that an OpCase::op needs
/// besides its inputs (labels, targets).
Tensor beside(const Tensor& tensor, const Variable& x);

/// Uniform values in [low, high), keyed by `seed`.
Tensor random_tensor(const Shape& shape, std::uint64_t seed, double low = -1, double high = 1,
                     DType dtype = DType::f64);

/// Largest |a - b|; throws when the counts differ.
double max_difference(const Values& a, const Values& b);
/// Largest |a|, at least `floor`.
double max_magnitude(const Values& a, double floor = 0);

/// Asserts that calling f throws replk::Error whose text contains every one of `parts`.
void check_error(const std::function<void()>& f, const std::vector<std::string>& parts);

}  // namespace replk::test
