// What a RepLKNet looks like: every option of the published model, the presets, and their JSON form.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace replk {

/// Options of a RepLKNet. The names are those of the published model's constructor; `stem_strides` and
/// `batch_norm_folded` are ours. Lists have one entry per stage; the published presets have four stages.
struct RepLKNetConfig {
  std::vector<std::int64_t> large_kernel_sizes = {31, 29, 27, 13};
  std::vector<std::int64_t> layers = {2, 2, 18, 2};  // RepLK block + ConvFFN pairs
  std::vector<std::int64_t> channels = {128, 256, 512, 1024};
  double drop_path_rate = 0.3;    // of the last block; rises linearly from 0 at the first
  std::int64_t small_kernel = 5;  // 0: none
  bool shortcut = true;           // of RepLK and ConvFFN blocks; without only to see what it is good for
  double dw_ratio = 1;            // width of the depth-wise part of a RepLK block
  double ffn_ratio = 4;           // hidden width of a ConvFFN block
  std::int64_t in_channels = 3;
  std::int64_t num_classes = 1000;                  // 0: no final norm and no head
  std::vector<std::int64_t> stem_strides = {2, 2};  // of the first and the last convolution of the stem
  std::vector<std::int64_t> out_indices = {};       // stages whose outputs forward_outputs returns
  bool norm_intermediate_features = false;          // a batch norm of its own for every such output
  bool use_checkpoint = false;       // recompute blocks in backward: less memory, one more forward pass
  bool small_kernel_merged = false;  // after structural_reparam
  bool batch_norm_folded = false;    // after fold_batch_norm

  friend bool operator==(const RepLKNetConfig&, const RepLKNetConfig&) = default;
};

/// Throws Error naming the first option that makes no sense.
void validate(const RepLKNetConfig& config);

/// Names of the presets: replknet-31b, -31l, -xl, -3, -7, -13, -25 (published), -nano, -tiny, -small (for
/// images of 28 to 64 pixels).
std::vector<std::string> preset_names();
/// Throws UsageError naming the nearest preset when there is none of that name.
RepLKNetConfig preset(const std::string& name);

/// One JSON object with every option.
std::string to_json(const RepLKNetConfig& config);
/// Reads an object with any of the options; the others keep the values of `base`. `small_kernel`,
/// `num_classes` and `out_indices` may be null. Throws UsageError naming an unknown key (and the nearest
/// known one) or a wrong type.
RepLKNetConfig config_from_json(const std::string& text, const RepLKNetConfig& base = {});

}  // namespace replk
