// Mixup and cutmix: batches in which every picture is blended with, or partly replaced by, another one.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "core/random.h"
#include "core/tensor.h"
#include "data/image.h"

namespace replk {

/// Source: Zhang et al. 2018 (mixup), Yun et al. 2019 (cutmix); names, defaults and rules are those of timm's
/// Mixup in batch mode: one choice for the whole batch.
struct MixParams {
  double mixup = 0;   // alpha: the share of a picture's own is Beta(alpha, alpha); 0: never
  double cutmix = 0;  // the same for cutmix
  std::optional<std::array<double, 2>> cutmix_minmax = {};  // sides of the part, as shares; in place of alpha
  double probability = 1;                                   // of mixing a batch at all
  double switch_probability = 0.5;                          // of cutmix where both are on

  bool enabled() const { return mixup > 0 || cutmix > 0 || cutmix_minmax.has_value(); }
};

/// What is done to one batch. With `n` of N pictures goes number N - 1 - n.
struct Mix {
  enum class Kind { none, mixup, cutmix };
  Kind kind = Kind::none;
  double own = 1;  // the share of a picture, and of its label, that is its own
  Box box = {};    // cutmix: the part that comes from the other, perhaps empty
};

/// Draws what to do with a batch of height x width pictures. In cutmix the part has sqrt(1 - share) times the
/// sides, rounded down, around a point anywhere in the picture; `own` is the share left after what lies
/// outside was cut off. Throws Error for parameters out of range.
Mix choose_mix(const MixParams& params, std::int64_t height, std::int64_t width, Random& random);
/// The random numbers for the batch of one step, keyed by nothing else.
Random mix_random(std::uint64_t seed, std::int64_t step);

/// Mixes pictures u8 (N, H, W, C) in place.
///
/// mixup: own * v + (1 - own) * other, rounded to bytes. It is done to bytes and not to normalised numbers
/// because there it costs a quarter of the memory traffic, runs before the copy to a GPU, and is the same for
/// every device and precision; normalising is affine, so only the rounding differs, by half a grey level.
void mix_images(Tensor& images, const Mix& mix);

/// What the network should say: f32 (N, classes). With s the smoothing, a label stands for
/// (1 - s) [k == label] + s / classes, and a mixed picture for own times that of its label plus (1 - own)
/// times that of the other's. Throws Error for labels outside [0, classes).
Tensor soft_targets(const Tensor& labels, std::int64_t classes, const Mix& mix, double smoothing);
/// The label with the greater share in each picture, i64 (N): by what a training accuracy is counted.
Tensor main_labels(const Tensor& labels, const Mix& mix);

/// Beta(alpha, alpha), alpha > 0. Source: as a ratio of gammas, Marsaglia and Tsang 2000.
double draw_beta(Random& random, double alpha);

}  // namespace replk
