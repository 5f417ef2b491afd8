#include "ops/concat/concat.h"

#include "core/dispatch.h"
#include "ops/primitives/elementwise.h"

namespace replk {
namespace {

Shape with_rows(const Shape& shape, std::int64_t rows) {
  std::vector<std::int64_t> extents(shape.begin(), shape.end());
  extents[0] = rows;
  return Shape(std::span<const std::int64_t>(extents));
}

Shape output_shape(const std::vector<Variable>& inputs) {
  check(!inputs.empty(), "concat: at least one input expected, got none.");
  const Tensor& first = inputs[0].data();
  std::int64_t rows = 0;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Tensor& x = inputs[i].data();
    check(x.defined() && x.rank() >= 1, "concat: tensors of rank 1 or more expected, got ", x, " as input ",
          i, ".");
    check(with_rows(x.shape(), 0) == with_rows(first.shape(), 0) && x.dtype() == first.dtype() &&
              x.device() == first.device(),
          "concat: inputs that differ in the outermost axis only expected, got ", first, " as input 0 and ",
          x, " as input ", i, ".");
    rows += x.size(0);
  }
  return with_rows(first.shape(), rows);
}

}  // namespace

Variable concat(const std::vector<Variable>& inputs) {
  const Shape shape = output_shape(inputs);
  Tensor y = Tensor::empty(shape, inputs[0].data().dtype(), inputs[0].data().device());
  std::vector<std::int64_t> begins = {0};  // where each input starts in y, and the end of the last
  const auto copy = [&] {
    for (const Variable& x : inputs) {
      begins.push_back(begins.back() + x.shape()[0]);
      y.slice(*(begins.end() - 2), begins.back()).copy_from(x.data());
    }
  };
  dispatch("concat", y.device(), copy, copy);
  return record("concat", y, inputs, /*saved=*/{}, [begins](const Saved&, const Tensor& dy, GradSink& grads) {
    for (std::size_t i = 0; i + 1 < begins.size(); ++i)
      pass_gradient(grads, static_cast<int>(i), dy.slice(begins[i], begins[i + 1]));
  });
}

}  // namespace replk
