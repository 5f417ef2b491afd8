#include "ops/activations/activations.h"

#include "core/dispatch.h"

namespace replk {

Variable relu(const Variable& x) {
  Tensor y = Tensor::empty_like(x.data());
  dispatch(
      "relu", y.device(), [&] { cpu::relu_forward(x.data(), y); }, [&] { cuda::relu_forward(x.data(), y); });
  return record("relu", y, {x}, /*saved=*/{y}, [](const Saved& saved, const Tensor& dy, GradSink& grads) {
    dispatch(
        "relu.backward", dy.device(), [&] { cpu::relu_backward(saved[0], dy, grads.into(0)); },
        [&] { cuda::relu_backward(saved[0], dy, grads.into(0)); });
  });
}

Variable relu6(const Variable& x) {
  Tensor y = Tensor::empty_like(x.data());
  dispatch(
      "relu6", y.device(), [&] { cpu::relu6_forward(x.data(), y); },
      [&] { cuda::relu6_forward(x.data(), y); });
  return record("relu6", y, {x}, /*saved=*/{y}, [](const Saved& saved, const Tensor& dy, GradSink& grads) {
    dispatch(
        "relu6.backward", dy.device(), [&] { cpu::relu6_backward(saved[0], dy, grads.into(0)); },
        [&] { cuda::relu6_backward(saved[0], dy, grads.into(0)); });
  });
}

Variable gelu(const Variable& x) {
  Tensor y = Tensor::empty_like(x.data());
  dispatch(
      "gelu", y.device(), [&] { cpu::gelu_forward(x.data(), y); }, [&] { cuda::gelu_forward(x.data(), y); });
  return record("gelu", y, {x}, /*saved=*/{x.data()},
                [](const Saved& saved, const Tensor& dy, GradSink& grads) {
                  dispatch(
                      "gelu.backward", dy.device(), [&] { cpu::gelu_backward(saved[0], dy, grads.into(0)); },
                      [&] { cuda::gelu_backward(saved[0], dy, grads.into(0)); });
                });
}

Variable sigmoid(const Variable& x) {
  Tensor y = Tensor::empty_like(x.data());
  dispatch(
      "sigmoid", y.device(), [&] { cpu::sigmoid_forward(x.data(), y); },
      [&] { cuda::sigmoid_forward(x.data(), y); });
  return record("sigmoid", y, {x}, /*saved=*/{y}, [](const Saved& saved, const Tensor& dy, GradSink& grads) {
    dispatch(
        "sigmoid.backward", dy.device(), [&] { cpu::sigmoid_backward(saved[0], dy, grads.into(0)); },
        [&] { cuda::sigmoid_backward(saved[0], dy, grads.into(0)); });
  });
}

Variable activate(const Variable& x, Activation activation) {
  switch (activation) {
    case Activation::relu:
      return relu(x);
    case Activation::gelu:
      return gelu(x);
    case Activation::none:
      break;
  }
  return x;
}

}  // namespace replk
