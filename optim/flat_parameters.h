// FlatParameters: all weights in one buffer and all gradients in another, so that clipping, an optimizer step
// or an average is one pass over memory.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/tape.h"

namespace replk {

/// Parameters that are updated alike: their learning rate is lr_scale times the optimizer's.
struct ParameterGroup {
  std::string name;
  std::vector<Parameter*> parameters;
  double lr_scale = 1;
  double weight_decay = 0;
};

/// Two groups, "decay" with `weight_decay` and "no_decay" without: the latter takes tensors of rank <= 1 and
/// names that end in ".bias". A group without members is left out. Source: timm's rule.
std::vector<ParameterGroup> split_decay_groups(const std::vector<Parameter*>& parameters,
                                               double weight_decay);

/// Elements [begin, end) of the flat buffers that are updated alike.
struct UpdateRange {
  std::int64_t begin, end;
  double lr_scale, weight_decay;
};

/// The same two groups for every layer from 0 to layers - 1, those of layer k with lr_scale
/// layer_decay^(layers - 1 - k): layers near the images learn more slowly. `layer_of` tells a parameter's
/// layer by its name. Throws Error for a layer outside [0, layers), and a layer_decay that is not above 0.
/// Source: Clark et al. 2020 (ELECTRA); the RepLKNet, ConvNeXt and BEiT training code.
std::vector<ParameterGroup> layer_decay_groups(
    const std::vector<Parameter*>& parameters, double weight_decay, double layer_decay, std::int64_t layers,
    const std::function<std::int64_t(const std::string&)>& layer_of);

/// Moves the data and gradients of parameters into one flat buffer each; Parameter::data and ::grad become
/// views of them, each starting at a multiple of 64 bytes. So whoever writes a parameter must write into it
/// (copy_from), not replace its tensors: the next use would find that out and throw. The parameters must
/// outlive this object; frozen ones (trainable == false) may be among them.
/// Throws Error for no parameters, a parameter or name that appears twice, a dtype other than f32 and f64,
/// mixed dtypes or devices, and a negative or non-finite lr_scale or weight_decay.
class FlatParameters {
 public:
  /// One parameter: elements [begin, end) of the flat buffers.
  struct Segment {
    Parameter* parameter;
    std::int64_t begin, end;
    double lr_scale, weight_decay;
  };

  explicit FlatParameters(const std::vector<ParameterGroup>& groups);
  FlatParameters(const FlatParameters&) = delete;  // optimizers refer to it
  FlatParameters& operator=(const FlatParameters&) = delete;

  /// The flat buffers, of rank 1. What lies between segments is 0.
  const Tensor& data() const { return data_; }
  const Tensor& gradients() const { return gradients_; }
  std::span<const Segment> segments() const { return segments_; }
  /// Everything that is not frozen, in as few ranges as there are changes of group (and of frozen to not).
  std::vector<UpdateRange> trainable_ranges() const;

  /// Starts a step: marks all gradients as holding nothing, which costs no pass over memory.
  void zero_grad();
  /// Sets the gradients of parameters that are frozen or got none since zero_grad to 0. clip_grad_norm and
  /// optimizers call it.
  void complete_gradients();
  /// L2 norm of all gradients: a scalar in f64 on their device, for which nobody waits. Summed in double, the
  /// same bits for any number of threads and on every run. It is finite exactly when all gradients are (in
  /// f32 always; in f64 up to 1e154).
  Tensor grad_norm();
  /// Multiplies all gradients by max_norm / (norm + 1e-6) where that is below 1, and returns the norm from
  /// before. A norm that is not finite changes nothing.
  /// Throws Error unless max_norm > 0. Source: torch.nn.utils.clip_grad_norm_.
  Tensor clip_grad_norm(double max_norm);

 private:
  void check_still_views() const;

  Tensor data_, gradients_;
  std::vector<Segment> segments_;
};

/// Zeros, laid out as the flat buffers of `parameters`: optimizer state.
Tensor zeros_like_flat(const FlatParameters& parameters);

/// Flat buffers by the prefix under which their parts are saved: "exp_avg" gives "exp_avg.<parameter name>".
using NamedBuffers = std::vector<std::pair<std::string, Tensor>>;

/// Copies of every parameter's part of every buffer, by "<prefix>.<parameter name>".
std::map<std::string, Tensor> save_buffers(const FlatParameters& parameters, const NamedBuffers& buffers);

/// Copies what save_buffers gave back into the buffers, bit for bit. Throws Error naming `owner` and the
/// entry when one is missing, unexpected, or of another shape or dtype; then no buffer has changed.
void load_buffers(const char* owner, const FlatParameters& parameters, const NamedBuffers& buffers,
                  const std::map<std::string, Tensor>& state);

}  // namespace replk
