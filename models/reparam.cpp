// Merging a trained RepLKNet into a smaller one with the same outputs: small kernels into large ones, batch
// norms into convolutions. All sums are in f64 and rounded once.
#include "models/replknet.h"
#include "nn/init.h"

namespace replk {

void RepLKNet::structural_reparam() {
  for (const auto& stage : stages_)
    for (const auto& block : stage->replk_blocks()) block->large_kernel().merge();
  config_.small_kernel_merged = true;
  name_tree();
}

void RepLKNet::fold_batch_norm() {
  if (config_.batch_norm_folded) return;
  for (const auto& conv_bn : conv_bns_) conv_bn->fold();
  for (const auto& stage : stages_) stage->fold();
  if (head_) fold_head();
  config_.small_kernel_merged = true;
  config_.batch_norm_folded = true;
  eval();
  name_tree();
}

// Averaging and the final batch norm commute, so the norm moves into the linear layer behind the pooling.
void RepLKNet::fold_head() {
  const auto [scale, shift] = norm_->affine();
  std::vector<double> weight = head_->weight().data.to_vector(), bias = head_->bias().data.to_vector();
  for (std::size_t i = 0; i < weight.size(); ++i) {
    bias[i / scale.size()] += weight[i] * shift[i % scale.size()];
    weight[i] *= scale[i % scale.size()];
  }
  assign(head_->weight(), weight);
  assign(head_->bias(), bias);
  remove_child("norm");
  norm_ = nullptr;
}

}  // namespace replk
