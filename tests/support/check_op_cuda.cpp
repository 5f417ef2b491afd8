#include <cmath>
#include <limits>

#include "ops/primitives/elementwise.h"
#include "tests/support/catch.h"
#include "tests/support/cuda.h"
#include "tests/support/run_op.h"

namespace replk::test {
namespace {

// Distance from 1 to the next number.
double epsilon_of(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return std::numeric_limits<double>::epsilon();
    case DType::bf16:
      return 0x1p-7;
    case DType::f16:
      return 0x1p-10;
    default:
      return std::numeric_limits<float>::epsilon();
  }
}

// In bf16 and f16 sums are made in f32, so that their length does not show; what was rounded to the dtype on
// the way (the result, a saved output) does.
// `floor`: a magnitude below which the reference says nothing, because larger terms cancel in it.
double bound(DType dtype, double terms, const Values& reference, double floor = 1e-3) {
  const Values scale = {max_magnitude(reference, floor)};
  if (dtype == DType::f64) return rounding_bound(epsilon_of(dtype), terms, scale);
  const double in_f32 = rounding_bound(epsilon_of(DType::f32), terms, scale);
  return dtype == DType::f32 ? in_f32 : in_f32 + 2 * epsilon_of(dtype) * scale[0];
}

// The first element that is off by the most, for a message that says where to look.
std::string worst_of(const Values& got, const Values& expected) {
  std::size_t worst = 0;
  double largest = -1;
  std::size_t off = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double difference = std::abs(got[i] - expected[i]);
    if (difference != 0) ++off;
    if (!(difference <= largest)) largest = difference, worst = i;
    if (std::isnan(difference)) break;
  }
  if (got.empty()) return "no elements";
  return str("worst at element ", worst, " of ", got.size(), ": got ", got[worst], ", expected ",
             expected[worst], "; ", off, " elements differ at all");
}

void check_close(const Tensor& got, const Values& expected, double tolerance) {
  const Values values = got.to_vector();
  REQUIRE(values.size() == expected.size());
  INFO(worst_of(values, expected) << "; tolerance " << tolerance);
  CHECK(max_difference(values, expected) <= tolerance);
}

std::vector<Tensor> to_cuda(const std::vector<Tensor>& tensors) {
  std::vector<Tensor> result;
  for (const Tensor& t : tensors) result.push_back(t.to(Device::cuda()));
  return result;
}

// The inputs of the case rounded to `dtype`, save those that are kept in f32.
std::vector<Tensor> inputs_in(const OpCase& c, DType dtype) {
  std::vector<Tensor> inputs = cast_all(c.inputs, dtype);
  if (dtype == DType::bf16 || dtype == DType::f16)
    for (const int i : c.full_precision)
      if (const auto k = static_cast<std::size_t>(i); k < inputs.size())
        inputs[k] = cast(c.inputs[k], DType::f32);
  return inputs;
}

void check_dtype(const OpCase& c, DType dtype) {
  INFO("on CUDA in " << dtype);
  const std::vector<Tensor> inputs = inputs_in(c, dtype), on_device = to_cuda(inputs),
                            exact_inputs = cast_all(inputs, DType::f64);
  // What dtype the output has is the operator's choice: the loss of bf16 logits is f32.
  const Tensor y = c.op({on_device.begin(), on_device.end()}).data();
  CHECK(y.device() == Device::cuda());
  const Tensor dy = cast(random_tensor(y.shape(), 4242), y.dtype()), dy_on_device = dy.to(Device::cuda());
  const Result exact = run(c, exact_inputs, cast(dy, DType::f64), nullptr);
  const Result result = run(c, on_device, dy_on_device, nullptr);
  {
    INFO("forward against the CPU in f64");
    check_close(result.y, exact.y.to_vector(), bound(dtype, c.terms, exact.y.to_vector()));
  }
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!differentiable(c, i)) continue;
    INFO("gradient of input " << i << " against the CPU in f64");
    REQUIRE(result.grads[i].defined());
    const Values gradient = exact.grads[i].to_vector();
    // A gradient is made of dy, which is up to 1 (layer norm over one channel cancels it altogether).
    constexpr double kFloor = 0.1;
    check_close(result.grads[i], gradient, bound(dtype, c.gradient_terms, gradient, kFloor));
  }
  {
    INFO("same bits on a second run");
    CHECK(same_bits(result, run(c, on_device, dy_on_device, nullptr)));
  }
  std::vector<Tensor> prefill, prefill_on_device;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const bool floating = is_floating(inputs[i].dtype());
    prefill.push_back(
        random_tensor(inputs[i].shape(), 500 + i, -1, 1, floating ? inputs[i].dtype() : DType::f64));
    prefill_on_device.push_back(prefill.back().to(Device::cuda()));
  }
  const Result summed = run(c, on_device, dy_on_device, &prefill_on_device);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!differentiable(c, i)) continue;
    INFO("accumulating into the gradient of input " << i);
    Values expected = prefill[i].to_vector();
    const Values gradient = exact.grads[i].to_vector();
    for (std::size_t j = 0; j < expected.size(); ++j) expected[j] += gradient[j];
    check_close(summed.grads[i], expected, bound(dtype, c.gradient_terms, expected));
  }
}

}  // namespace

void check_op_on_cuda(const OpCase& c) {
  if (!cuda_or_skip(c.name)) return;
  try {
    const std::vector<Tensor> inputs = to_cuda(cast_all(c.inputs, DType::f32));
    c.op({inputs.begin(), inputs.end()});
  } catch (const Error& error) {
    if (std::string(error.what()).find("has no kernel for") == std::string::npos) throw;
    skip_cuda(c.name, "an operator has no CUDA kernel yet");
    return;
  }
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16, DType::f16}) check_dtype(c, dtype);
}

}  // namespace replk::test
