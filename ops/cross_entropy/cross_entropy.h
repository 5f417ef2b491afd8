// cross_entropy: the classification loss, softmax included, for labels or for soft targets.
#pragma once

#include "core/tape.h"

namespace replk {

struct CrossEntropyParams {
  double label_smoothing = 0;        // in [0, 1]: the share of the target spread over all classes
  std::int64_t ignore_index = -100;  // rows with this label count neither in the loss nor in the mean
};

/// loss = mean over the rows that are not ignored of  -sum_k t[k] * log softmax(logits of the row)[k]
/// with t[k] = (1 - s) * [k == label] + s / classes, s the label smoothing
///
/// logits (N, classes) and labels i64 (N), a row per sample; or logits (classes, N, H, W) and labels i64
/// (N, H, W), a row per pixel. f32, f64; on a GPU also bf16 and f16, whose loss is f32. Result: a scalar,
/// shape
/// (), which stays on the device. Finite for logits of any finite size.
/// With every row ignored (or none given) the loss is NaN and the gradient zero, as in PyTorch.
/// Saves logits and labels (no copies) and two numbers per row.
/// Throws Error when shapes or dtypes do not fit, for a smoothing outside [0, 1], and on the CPU for a label
/// outside [0, classes) that is not ignore_index. On a GPU, where looking would wait for it, such a label
/// makes the loss NaN. Source: label smoothing, Szegedy et al. 2016, section 7; its mean together with
/// ignore_index as PyTorch.
Variable cross_entropy(const Variable& logits, const Tensor& labels, CrossEntropyParams params = {});

/// loss = mean over n of  -sum_k targets[n, k] * log softmax(logits[n, :])[k]
///
/// logits and targets (N, classes), one dtype, f32 or f64. Result: a scalar, shape (). Targets are
/// probabilities (mixup, distillation), but need not sum to one; they get no gradient.
/// Saves logits and targets (no copies) and two numbers per row.
Variable cross_entropy_soft(const Variable& logits, const Tensor& targets);

/// What the kernels see: logit k of row r is at r * row_stride + k * class_stride.
struct CrossEntropyGeometry {
  std::int64_t rows, classes, row_stride, class_stride;
  CrossEntropyParams params;
  static CrossEntropyGeometry of(const Tensor& logits, const Tensor& labels, CrossEntropyParams params);
  static CrossEntropyGeometry of_soft(const Tensor& logits, const Tensor& targets);
};

namespace cpu {
/// Writes the loss, the number of rows in the mean (a scalar of the dtype of the loss), and per row the
/// largest logit, normalisers[0, r], and log sum_k exp(logit - largest), normalisers[1, r].
void cross_entropy_forward(const CrossEntropyGeometry& g, const Tensor& logits, const Tensor& labels,
                           Tensor& loss, Tensor& count, Tensor& normalisers);
/// dlogits[r, k] = (softmax[r, k] - t[r, k]) * dy / count, zero in ignored rows
void cross_entropy_backward(const CrossEntropyGeometry& g, const Tensor& logits, const Tensor& labels,
                            const Tensor& count, const Tensor& normalisers, const Tensor& dy,
                            GradTarget dlogits);
void cross_entropy_soft_forward(const CrossEntropyGeometry& g, const Tensor& logits, const Tensor& targets,
                                Tensor& loss, Tensor& normalisers);
/// dlogits[r, k] = (softmax[r, k] * sum_j targets[r, j] - targets[r, k]) * dy / N
void cross_entropy_soft_backward(const CrossEntropyGeometry& g, const Tensor& logits, const Tensor& targets,
                                 const Tensor& normalisers, const Tensor& dy, GradTarget dlogits);
}  // namespace cpu

namespace cuda {  // the same on the GPU, also in bf16 and f16
void cross_entropy_forward(const CrossEntropyGeometry& g, const Tensor& logits, const Tensor& labels,
                           Tensor& loss, Tensor& count, Tensor& normalisers);
void cross_entropy_backward(const CrossEntropyGeometry& g, const Tensor& logits, const Tensor& labels,
                            const Tensor& count, const Tensor& normalisers, const Tensor& dy,
                            GradTarget dlogits);
void cross_entropy_soft_forward(const CrossEntropyGeometry& g, const Tensor& logits, const Tensor& targets,
                                Tensor& loss, Tensor& normalisers);
void cross_entropy_soft_backward(const CrossEntropyGeometry& g, const Tensor& logits, const Tensor& targets,
                                 const Tensor& normalisers, const Tensor& dy, GradTarget dlogits);
}  // namespace cuda

}  // namespace replk
