#include "ops/depthwise_conv2d/cuda_weight_parts.h"

#include "core/cuda/launch.cuh"
#include "core/cuda/vector.cuh"

namespace replk::cuda {
namespace {

__global__ void add_parts(const float* partial, int parts, std::int64_t count, Target<float> dweight) {
  for (std::int64_t i = thread_index(); i < count; i += thread_count()) {
    float total = 0;
    for (int part = 0; part < parts; ++part) total += partial[part * count + i];
    dweight.put(i, total);
  }
}

}  // namespace

WeightParts::WeightParts(int parts, GradTarget dweight) : parts_(parts), dweight_(dweight) {
  if (parts > 1 || dweight.accumulate)
    partial_ = Tensor::empty({parts * dweight.tensor.numel()}, DType::f32, Device::cuda());
}

float* WeightParts::data() {
  return partial_.defined() ? partial_.data<float>() : dweight_.tensor.data<float>();
}

void WeightParts::add() {
  if (!partial_.defined()) return;
  const std::int64_t count = dweight_.tensor.numel();
  const Target<float> target{dweight_.tensor.data<float>(), dweight_.accumulate};
  const float* partial = partial_.data<float>();
  launch("depthwise_conv2d.backward_weight", grid_stride(count), add_parts, partial, parts_, count, target);
}

}  // namespace replk::cuda
