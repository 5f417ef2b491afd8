// Weights of a RepLKNet from elsewhere: which network they are of, and under which names.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "models/config.h"

namespace replk {

/// Weights under the names of the published model, and what was done to get there (one line each).
struct PublishedWeights {
  std::map<std::string, Tensor> tensors;
  std::vector<std::string> notes;
};

/// Takes "module." (a model saved inside DataParallel) off all names; where some begin with "backbone." (a
/// detector or segmenter) keeps those alone, without it; adds a counter of 0 to a batch norm that has none.
PublishedWeights with_published_names(std::map<std::string, Tensor> tensors);

/// What names and shapes tell of a network.
struct InferredConfig {
  RepLKNetConfig config;
  std::string preset = {};    // that agrees with all of it; "" for none
  bool strides_known = true;  // of the stem
};

/// The configuration of a network with these weights. Training-time, merged and folded networks, with a head
/// or without. Strides of the stem and drop path leave no trace in weights: they are those of the preset that
/// agrees, or of the published model where there are four stages; otherwise strides_known is false. Throws
/// Error naming the tensor that was expected when these are not the weights of a RepLKNet.
InferredConfig infer_config(const std::map<std::string, Tensor>& tensors);

/// A configuration given by the user (`base`, such as a preset) with what must be as in the weights: number
/// of classes and input channels, what has been merged and folded, norms of the stages.
RepLKNetConfig adapt_config(RepLKNetConfig base, const std::map<std::string, Tensor>& tensors);

}  // namespace replk
