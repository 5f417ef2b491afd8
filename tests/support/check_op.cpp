#include "tests/support/check_op.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

#include "core/parallel.h"
#include "core/random.h"
#include "ops/primitives/elementwise.h"
#include "tests/support/catch.h"
#include "tests/support/run_op.h"

namespace replk::test {

std::vector<Tensor> cast_all(const std::vector<Tensor>& tensors, DType dtype) {
  std::vector<Tensor> result;
  for (const Tensor& t : tensors) result.push_back(is_floating(t.dtype()) ? cast(t, dtype) : t);
  return result;
}

Result run(const OpCase& c, const std::vector<Tensor>& inputs, const Tensor& dy,
           const std::vector<Tensor>* prefill) {
  std::vector<std::unique_ptr<Parameter>> parameters;
  std::vector<Variable> variables;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    parameters.push_back(std::make_unique<Parameter>("input " + std::to_string(i), inputs[i]));
    if (prefill && differentiable(c, i)) {
      parameters[i]->grad = (*prefill)[i].clone();
      parameters[i]->grad_ready = true;
    }
    variables.push_back(differentiable(c, i) ? Variable(*parameters[i]) : Variable(inputs[i]));
  }
  Tape tape;
  const Variable y = c.op(variables);
  tape.backward(y, dy);
  Result result{y.data(), {}};
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const bool has = differentiable(c, i) && parameters[i]->grad_ready;
    result.grads.push_back(has ? parameters[i]->grad : Tensor());
  }
  return result;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.defined() == b.defined() &&
         (!a.defined() || (a.bytes() == b.bytes() && std::memcmp(a.to(Device::cpu()).raw(),
                                                                 b.to(Device::cpu()).raw(), a.bytes()) == 0));
}

bool same_bits(const Result& a, const Result& b) {
  if (!same_bits(a.y, b.y)) return false;
  for (std::size_t i = 0; i < a.grads.size(); ++i)
    if (!same_bits(a.grads[i], b.grads[i])) return false;
  return true;
}

double rounding_bound(double eps, double terms, const Values& reference) {
  return eps * (8 + 4 * std::sqrt(terms)) * max_magnitude(reference, 1e-3);
}

namespace {

double f32_bound(double terms, const Values& reference) {
  return rounding_bound(std::numeric_limits<float>::epsilon(), terms, reference);
}

// Forward without a tape.
Tensor forward(const OpCase& c, const std::vector<Tensor>& inputs) {
  return c.op({inputs.begin(), inputs.end()}).data();
}

double dot(const Values& a, const Values& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// d/dt <op(x + t v), dy> at t = 0 by central differences, against <grad, v>.
void check_direction(const OpCase& c, const Result& analytic, const Tensor& dy, std::size_t i,
                     const Values& direction) {
  const double h = 1e-5;
  const Values cotangent = dy.to_vector();
  const auto value_at = [&](double t) {
    std::vector<Tensor> moved = c.inputs;
    moved[i] = moved[i].clone();
    double* x = moved[i].data<double>();
    for (std::size_t j = 0; j < direction.size(); ++j) x[j] += t * direction[j];
    return forward(c, moved).to_vector();
  };
  const Values plus = value_at(h), minus = value_at(-h);
  Values difference(plus.size());
  double scale = 0;
  for (std::size_t j = 0; j < plus.size(); ++j) {
    difference[j] = (plus[j] - minus[j]) / (2 * h);
    scale += std::abs(difference[j] * cotangent[j]) + 1e-3 * std::abs(plus[j] * cotangent[j]);
  }
  const double numeric = dot(difference, cotangent);
  const double ours = dot(analytic.grads[i].to_vector(), direction);
  INFO("gradient of input " << i << ": by backward " << ours << ", by differences " << numeric);
  CHECK(std::abs(ours - numeric) <= 1e-7 * std::max(scale, 1e-3));
}

void check_gradients(const OpCase& c, const Result& analytic, const Tensor& dy) {
  for (std::size_t i = 0; i < c.inputs.size(); ++i) {
    if (!differentiable(c, i)) continue;
    INFO("input " << i << ": " << c.inputs[i]);
    REQUIRE(analytic.grads[i].defined());
    REQUIRE(analytic.grads[i].shape() == c.inputs[i].shape());
    const std::int64_t n = c.inputs[i].numel();
    for (std::uint64_t k = 0; k < 3; ++k)
      check_direction(c, analytic, dy, i, random_tensor({n}, 900 + k + 10 * i).to_vector());
    Random pick(77, i);
    for (int k = 0; k < std::min<std::int64_t>(n, 12); ++k) {
      Values one(static_cast<std::size_t>(n), 0.0);
      one[static_cast<std::size_t>(k == 0 ? 0 : k == 1 ? n - 1 : pick.below(n))] = 1;
      check_direction(c, analytic, dy, i, one);
    }
  }
}

void check_accumulation(const OpCase& c, const Result& plain, const Tensor& dy) {
  std::vector<Tensor> prefill;
  for (std::size_t i = 0; i < c.inputs.size(); ++i)
    prefill.push_back(random_tensor(c.inputs[i].shape(), 500 + i));
  const Result summed = run(c, c.inputs, dy, &prefill);
  for (std::size_t i = 0; i < c.inputs.size(); ++i) {
    if (!differentiable(c, i)) continue;
    Values expected = prefill[i].to_vector();
    const Values gradient = plain.grads[i].to_vector();
    for (std::size_t j = 0; j < expected.size(); ++j) expected[j] += gradient[j];
    INFO("accumulating into the gradient of input " << i);
    CHECK(max_difference(summed.grads[i].to_vector(), expected) <= 1e-12 * max_magnitude(expected, 1));
  }
}

void check_adjoint(const OpCase& c, const Result& result, const Tensor& dy) {
  for (const int i : c.linear_in) {
    const double left = dot(result.y.to_vector(), dy.to_vector());
    const double right = dot(c.inputs[static_cast<std::size_t>(i)].to_vector(),
                             result.grads[static_cast<std::size_t>(i)].to_vector());
    INFO("adjoint identity in input " << i << ": <A x, dy> = " << left << ", <x, A^T dy> = " << right);
    CHECK(std::abs(left - right) <=
          1e-11 * std::max({std::abs(left), max_magnitude(result.y.to_vector()), 1.0}));
  }
}

void check_same_bits(const OpCase& c, const std::vector<Tensor>& inputs, const Tensor& dy) {
  const int before = num_threads();
  set_num_threads(1);
  const Result one = run(c, inputs, dy, nullptr);
  INFO("same bits, dtype " << dy.dtype());
  CHECK(same_bits(one, run(c, inputs, dy, nullptr)));
  set_num_threads(3);
  const Result three = run(c, inputs, dy, nullptr);
  set_num_threads(before);
  INFO("3 threads against 1");
  CHECK(same_bits(one, three));
}

}  // namespace

void check_op(const OpCase& c) {
  INFO("case: " << c.name);
  const Tensor y = forward(c, c.inputs);
  REQUIRE(y.dtype() == DType::f64);
  std::vector<Values> inputs;
  for (const Tensor& input : c.inputs) inputs.push_back(input.to_vector());
  const Values reference = c.reference(inputs);
  REQUIRE(static_cast<std::size_t>(y.numel()) == reference.size());
  {
    INFO("forward in f64 against the reference");
    CHECK(max_difference(y.to_vector(), reference) <=
          1e-12 * std::sqrt(c.terms) * max_magnitude(reference, 1e-3));
  }

  const Tensor dy = random_tensor(y.shape(), 4242);
  const Result result = run(c, c.inputs, dy, nullptr);
  CHECK(same_bits(result.y, y));
  check_gradients(c, result, dy);
  check_accumulation(c, result, dy);
  check_adjoint(c, result, dy);

  // In f32 the inputs are rounded first, so the yardstick is f64 on the rounded inputs.
  const std::vector<Tensor> inputs32 = cast_all(c.inputs, DType::f32),
                            rounded = cast_all(inputs32, DType::f64);
  const Tensor dy32 = cast(dy, DType::f32);
  const Result result32 = run(c, inputs32, dy32, nullptr);
  const Result result64 = run(c, rounded, cast(dy32, DType::f64), nullptr);
  REQUIRE(result32.y.dtype() == DType::f32);
  {
    INFO("forward in f32 against f64");
    const Values exact = result64.y.to_vector();
    CHECK(max_difference(result32.y.to_vector(), exact) <= f32_bound(c.terms, exact));
  }
  for (std::size_t i = 0; i < c.inputs.size(); ++i) {
    if (!differentiable(c, i)) continue;
    INFO("gradient of input " << i << " in f32 against f64");
    const Values exact = result64.grads[i].to_vector();
    CHECK(max_difference(result32.grads[i].to_vector(), exact) <= f32_bound(c.gradient_terms, exact));
  }
  check_same_bits(c, c.inputs, dy);
  check_same_bits(c, inputs32, dy32);
  check_op_on_cuda(c);
}

Tensor beside(const Tensor& tensor, const Variable& x) {
  const Tensor moved = tensor.to(x.data().device());
  return is_floating(tensor.dtype()) ? cast(moved, x.data().dtype()) : moved;
}

Tensor random_tensor(const Shape& shape, std::uint64_t seed, double low, double high, DType dtype) {
  Tensor result = Tensor::empty(shape, DType::f64);
  Random random(seed, stream_of("random_tensor"));
  for (double* x = result.data<double>(); x != result.data<double>() + result.numel(); ++x)
    *x = random.uniform(low, high);
  return cast(result, dtype);
}

double max_difference(const Values& a, const Values& b) {
  check(a.size() == b.size(), "max_difference: ", a.size(), " values against ", b.size(), ".");
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(a[i] - b[i]);
    if (!(difference <= largest)) largest = difference;  // NaN wins
  }
  return largest;
}

double max_magnitude(const Values& a, double floor) {
  double largest = floor;
  for (const double x : a) largest = std::max(largest, std::abs(x));
  return largest;
}

void check_error(const std::function<void()>& f, const std::vector<std::string>& parts) {
  std::string message;
  try {
    f();
  } catch (const Error& error) {
    message = error.what();
  }
  INFO("message: \"" << message << '"');
  REQUIRE(!message.empty());
  for (const std::string& part : parts) {
    INFO("expected in it: " << part);
    CHECK(message.find(part) != std::string::npos);
  }
}

}  // namespace replk::test
