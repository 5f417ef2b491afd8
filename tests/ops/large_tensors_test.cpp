// Tensors of more than 2^31 elements, on a GPU that has the memory: 32-bit indices somewhere would show.
#include <algorithm>
#include <cmath>
#include <functional>

#include "core/device.h"
#include "ops/activations/activations.h"
#include "ops/batch_norm2d/batch_norm2d.h"
#include "ops/depthwise_conv2d/depthwise_conv2d.h"
#include "ops/drop_path/drop_path.h"
#include "ops/primitives/elementwise.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"
#include "tests/support/cuda.h"

using namespace replk;
using namespace replk::test;

namespace {

constexpr std::int64_t kBatch = 64, kSide = 56;
constexpr std::int64_t kChannels = (std::int64_t{1} << 31) / (kBatch * kSide * kSide) + 2;

// An operator of x that treats every channel alike and for itself.
using ChannelOp = std::function<Variable(const Variable& x)>;

struct Result {
  Tensor y, dx;
};

Result run(const ChannelOp& op, const Tensor& x, const Tensor& dy) {
  Tape tape;
  const Variable input = tape.watch(x), y = op(input);
  tape.backward(y, dy);
  return {y.data(), tape.gradient(input)};
}

Tensor last_channel(const Tensor& x) { return x.slice(x.size(0) - 1, x.size(0)); }

void check_close(const Tensor& a, const Tensor& b, double tolerance) {
  const Values left = a.to_vector(), right = b.to_vector();
  double most = 0;
  for (std::size_t i = 0; i < left.size(); ++i) most = std::max(most, std::abs(left[i] - right[i]));
  CHECK(most <= tolerance);
}

// The last channel of a large tensor must come out as it does alone. (Sums over a channel may be taken in
// another order there.)
void check_last_channel(const char* name, const ChannelOp& op, double tolerance = 0) {
  INFO(name);
  const auto random = [](std::uint64_t seed) {
    const Tensor values = random_tensor({1, kBatch, kSide, kSide}, seed, -1, 1, DType::f32);
    return cast(values.to(Device::cuda()), DType::bf16);
  };
  const Tensor alone = random(1), dy_alone = random(2);
  const Shape shape = {kChannels, kBatch, kSide, kSide};
  const Tensor x = Tensor::full(shape, 0.5, DType::bf16, Device::cuda());
  const Tensor dy = Tensor::full(shape, 0.25, DType::bf16, Device::cuda());
  last_channel(x).copy_from(alone);
  last_channel(dy).copy_from(dy_alone);
  const Result all = run(op, x, dy), one = run(op, alone, dy_alone);
  check_close(last_channel(all.y), one.y, tolerance);
  check_close(last_channel(all.dx), one.dx, tolerance);
}

// One per channel of x.
Variable constants(const Variable& x, double value) {
  return Tensor::full({x.data().size(0)}, value, DType::f32, Device::cuda());
}

ChannelOp depthwise(std::int64_t kernel) {
  return [kernel](const Variable& x) {
    const Tensor weight =
        Tensor::full({x.data().size(0), 1, kernel, kernel}, 0.125, DType::f32, Device::cuda());
    return depthwise_conv2d(x, weight, {}, {.padding = kernel / 2});
  };
}

}  // namespace

TEST_CASE("ops/large tensors/more than 2^31 elements") {
  if (!cuda_or_skip("tensors of more than 2^31 elements")) return;
  constexpr std::int64_t kBytes = std::int64_t{30} << 30;  // x, y, dy, dx and another of them
  if (device_info(Device::cuda()).free_bytes < kBytes)
    return skip_cuda("tensors of more than 2^31 elements", "30 GiB of GPU memory are needed");
  check_last_channel("relu", [](const Variable& x) { return relu(x); });
  check_last_channel("depthwise_conv2d 3x3", depthwise(3));
  check_last_channel("depthwise_conv2d 31x31", depthwise(31));
  check_last_channel(
      "batch_norm2d",
      [](const Variable& x) {
        Tensor mean = Tensor::zeros({x.data().size(0)}, DType::f32, Device::cuda());
        Tensor variance = Tensor::full({x.data().size(0)}, 1, DType::f32, Device::cuda());
        return batch_norm2d(x, constants(x, 1.5), constants(x, 0.5), mean, variance, {.training = true});
      },
      0.02);
  check_last_channel("drop_path_add", [](const Variable& x) {
    return drop_path_add(x, x, {.probability = 0.25, .training = true, .seed = 3});
  });
}
