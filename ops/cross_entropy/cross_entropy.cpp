#include "ops/cross_entropy/cross_entropy.h"

#include "core/dispatch.h"

namespace replk {
namespace {

// "3" or, in (N, H, W), "0, 2, 5"
std::string place_of(std::int64_t row, const Shape& shape) {
  std::string place = std::to_string(row % shape[shape.rank() - 1]);
  for (int axis = shape.rank() - 2; axis >= 0; --axis) {
    row /= shape[axis + 1];
    place = str(row % shape[axis], ", ", place);
  }
  return place;
}

// Labels on another device are not looked at: that would wait for it in every step.
void check_labels(const CrossEntropyGeometry& g, const Tensor& labels) {
  if (!labels.device().is_cpu()) return;
  const std::int64_t* label = labels.data<std::int64_t>();
  for (std::int64_t r = 0; r < g.rows; ++r)
    if ((label[r] < 0 || label[r] >= g.classes) && label[r] != g.params.ignore_index) [[unlikely]]
      throw Error(str("cross_entropy: a label in [0, ", g.classes, ") or the ignored ", g.params.ignore_index,
                      " expected, got ", label[r], " in labels[", place_of(r, labels.shape()),
                      "]. Does the network have as many outputs as the data has classes?"));
}

}  // namespace

CrossEntropyGeometry CrossEntropyGeometry::of(const Tensor& logits, const Tensor& labels,
                                              CrossEntropyParams params) {
  const bool per_pixel = logits.rank() == 4;
  check(per_pixel || logits.rank() == 2,
        "cross_entropy: logits (N, classes) or (classes, N, H, W) expected, got ", logits.shape(), ".");
  const Shape rows =
      per_pixel ? Shape{logits.size(1), logits.size(2), logits.size(3)} : Shape{logits.size(0)};
  check(labels.defined() && labels.dtype() == DType::i64 && labels.shape() == rows,
        "cross_entropy: labels i64 ", rows, " expected for logits ", logits.shape(), ", got ", labels, ".");
  check(labels.device() == logits.device(), "cross_entropy: logits are ", logits, ", labels ", labels,
        ": one device expected.");
  check(params.label_smoothing >= 0 && params.label_smoothing <= 1,
        "cross_entropy: label_smoothing in [0, 1] expected, got ", params.label_smoothing, ".");
  const std::int64_t classes = logits.size(per_pixel ? 0 : 1);
  check(classes >= 1, "cross_entropy: at least one class expected, got logits ", logits.shape(), ".");
  return {rows.numel(), classes, per_pixel ? 1 : classes, per_pixel ? rows.numel() : 1, params};
}

CrossEntropyGeometry CrossEntropyGeometry::of_soft(const Tensor& logits, const Tensor& targets) {
  check(logits.rank() == 2 && logits.size(1) >= 1, "cross_entropy_soft: logits (N, classes) expected, got ",
        logits.shape(), ".");
  check(targets.defined() && targets.shape() == logits.shape() && targets.dtype() == logits.dtype() &&
            targets.device() == logits.device(),
        "cross_entropy_soft: targets like the logits, ", logits, ", expected, got ", targets, ".");
  return {logits.size(0), logits.size(1), logits.size(1), 1, {}};
}

Variable cross_entropy(const Variable& logits, const Tensor& labels, CrossEntropyParams params) {
  const Tensor& x = logits.data();
  const auto g = CrossEntropyGeometry::of(x, labels, params);
  check_labels(g, labels);
  Tensor loss = Tensor::empty({}, accumulator_of(x.dtype()), x.device()), count = Tensor::empty_like(loss);
  Tensor normalisers = Tensor::empty({2, g.rows}, loss.dtype(), x.device());
  dispatch(
      "cross_entropy", x.device(),
      [&] { cpu::cross_entropy_forward(g, x, labels, loss, count, normalisers); },
      [&] { cuda::cross_entropy_forward(g, x, labels, loss, count, normalisers); });
  return record(
      "cross_entropy", loss, {logits}, /*saved=*/{x, labels, count, normalisers},
      [g](const Saved& saved, const Tensor& dy, GradSink& grads) {
        dispatch(
            "cross_entropy.backward", dy.device(),
            [&] {
              cpu::cross_entropy_backward(g, saved[0], saved[1], saved[2], saved[3], dy, grads.into(0));
            },
            [&] {
              cuda::cross_entropy_backward(g, saved[0], saved[1], saved[2], saved[3], dy, grads.into(0));
            });
      });
}

Variable cross_entropy_soft(const Variable& logits, const Tensor& targets) {
  const Tensor& x = logits.data();
  const auto g = CrossEntropyGeometry::of_soft(x, targets);
  Tensor loss = Tensor::empty({}, accumulator_of(x.dtype()), x.device());
  Tensor normalisers = Tensor::empty({2, g.rows}, loss.dtype(), x.device());
  dispatch(
      "cross_entropy_soft", x.device(),
      [&] { cpu::cross_entropy_soft_forward(g, x, targets, loss, normalisers); },
      [&] { cuda::cross_entropy_soft_forward(g, x, targets, loss, normalisers); });
  return record(
      "cross_entropy_soft", loss, {logits}, /*saved=*/{x, targets, normalisers},
      [g](const Saved& saved, const Tensor& dy, GradSink& grads) {
        dispatch(
            "cross_entropy_soft.backward", dy.device(),
            [&] { cpu::cross_entropy_soft_backward(g, saved[0], saved[1], saved[2], dy, grads.into(0)); },
            [&] { cuda::cross_entropy_soft_backward(g, saved[0], saved[1], saved[2], dy, grads.into(0)); });
      });
}

}  // namespace replk
