#include "data/mixup.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace replk {
namespace {

// The logarithm of a gamma variate: for a small alpha the variate itself would underflow.
double draw_log_gamma(Random& random, double alpha) {
  // Below 1 as gamma(alpha + 1) times a power of a uniform number.
  const double power = alpha < 1 ? std::log(1 - random.uniform()) / alpha : 0;
  const double d = (alpha < 1 ? alpha + 1 : alpha) - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  while (true) {
    const double x = random.normal(), root = 1 + c * x;
    if (root <= 0) continue;
    const double v = root * root * root, u = 1 - random.uniform();
    if (std::log(u) < x * x / 2 + d - d * v + d * std::log(v)) return std::log(d * v) + power;
  }
}

void check_params(const MixParams& p) {
  check(p.mixup >= 0 && p.cutmix >= 0 && std::isfinite(p.mixup) && std::isfinite(p.cutmix),
        "mixup: alphas of 0 or more expected, got ", p.mixup, " and ", p.cutmix, ".");
  check(p.probability >= 0 && p.probability <= 1 && p.switch_probability >= 0 && p.switch_probability <= 1,
        "mixup: probabilities in [0, 1] expected, got ", p.probability, " and ", p.switch_probability, ".");
  if (const auto& sides = p.cutmix_minmax)
    check((*sides)[0] >= 0 && (*sides)[0] < (*sides)[1] && (*sides)[1] <= 1,
          "mixup: cutmix_minmax of two rising shares in [0, 1] expected, got ", (*sides)[0], " and ",
          (*sides)[1], ".");
}

std::int64_t part_of(std::int64_t side, double share) {
  return static_cast<std::int64_t>(static_cast<double>(side) * share);
}

struct Range {
  std::int64_t begin, length;
};

// Part of a side around any point of it; what lies outside is cut off.
Range around_a_point(std::int64_t side, std::int64_t length, Random& random) {
  const std::int64_t centre = random.below(side);
  const std::int64_t begin = std::max<std::int64_t>(centre - length / 2, 0);
  return {begin, std::min(centre + length / 2, side) - begin};
}

// Part of a side whose length is drawn and that lies inside.
Range inside(std::int64_t side, const std::array<double, 2>& shares, Random& random) {
  const std::int64_t low = part_of(side, shares[0]);
  const std::int64_t length = low + random.below(std::max<std::int64_t>(part_of(side, shares[1]) - low, 1));
  return {random.below(std::max<std::int64_t>(side - length, 1)), length};
}

}  // namespace

double draw_beta(Random& random, double alpha) {
  check(alpha > 0, "draw_beta: an alpha above 0 expected, got ", alpha, ".");
  const double a = draw_log_gamma(random, alpha), b = draw_log_gamma(random, alpha);
  return 1 / (1 + std::exp(b - a));
}

Random mix_random(std::uint64_t seed, std::int64_t step) {
  return Random(seed, mix(stream_of("mixup"), static_cast<std::uint64_t>(step)));
}

Mix choose_mix(const MixParams& params, std::int64_t height, std::int64_t width, Random& random) {
  check_params(params);
  if (!params.enabled() || random.uniform() >= params.probability) return {};
  const bool can_cut = params.cutmix > 0 || params.cutmix_minmax;
  const bool cut = can_cut && (params.mixup == 0 || random.uniform() < params.switch_probability);
  if (!cut) return {.kind = Mix::Kind::mixup, .own = draw_beta(random, params.mixup)};
  Range rows, columns;
  if (params.cutmix_minmax) {
    rows = inside(height, *params.cutmix_minmax, random);
    columns = inside(width, *params.cutmix_minmax, random);
  } else {
    const double share = std::sqrt(1 - draw_beta(random, params.cutmix));
    rows = around_a_point(height, part_of(height, share), random);
    columns = around_a_point(width, part_of(width, share), random);
  }
  const double area = static_cast<double>(rows.length * columns.length);
  return {.kind = Mix::Kind::cutmix,
          .own = 1 - area / static_cast<double>(height * width),
          .box = {rows.begin, columns.begin, rows.length, columns.length}};
}

namespace {

void blend(std::uint8_t* a, std::uint8_t* b, std::int64_t count, float own) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float x = a[i], y = b[i];
    a[i] = static_cast<std::uint8_t>(y + own * (x - y) + 0.5F);
    b[i] = static_cast<std::uint8_t>(x + own * (y - x) + 0.5F);
  }
}

}  // namespace

void mix_images(Tensor& images, const Mix& mix) {
  check(images.dtype() == DType::u8 && images.rank() == 4 && images.device().is_cpu(),
        "mix_images: u8 (N, H, W, C) on the CPU expected, got ", images, ".");
  if (mix.kind == Mix::Kind::none) return;
  const std::int64_t n = images.size(0), width = images.size(2), channels = images.size(3);
  const std::int64_t each = images.size(1) * width * channels;
  for (std::int64_t i = 0; i < n / 2; ++i) {
    std::uint8_t* a = images.data<std::uint8_t>() + i * each;
    std::uint8_t* b = images.data<std::uint8_t>() + (n - 1 - i) * each;
    if (mix.kind == Mix::Kind::mixup) {
      blend(a, b, each, static_cast<float>(mix.own));
      continue;
    }
    for (std::int64_t y = mix.box.top; y < mix.box.top + mix.box.height; ++y) {
      const std::int64_t at = (y * width + mix.box.left) * channels;
      std::swap_ranges(a + at, a + at + mix.box.width * channels, b + at);
    }
  }
}

Tensor soft_targets(const Tensor& labels, std::int64_t classes, const Mix& mix, double smoothing) {
  const std::int64_t n = labels.size(0);
  Tensor targets =
      Tensor::full({n, classes}, smoothing / static_cast<double>(classes), DType::f32, Device::cpu());
  const std::int64_t* label = labels.data<std::int64_t>();
  float* target = targets.data<float>();
  for (std::int64_t i = 0; i < n; ++i)
    check(label[i] >= 0 && label[i] < classes, "soft_targets: a label in [0, ", classes, ") expected, got ",
          label[i], " in labels[", i, "]. Does the network have as many outputs as the data has classes?");
  for (std::int64_t i = 0; i < n; ++i) {
    target[i * classes + label[i]] += static_cast<float>(mix.own * (1 - smoothing));
    target[i * classes + label[n - 1 - i]] += static_cast<float>((1 - mix.own) * (1 - smoothing));
  }
  return targets;
}

Tensor main_labels(const Tensor& labels, const Mix& mix) {
  if (mix.own >= 0.5) return labels;
  const std::int64_t n = labels.size(0);
  Tensor others = Tensor::empty_like(labels);
  for (std::int64_t i = 0; i < n; ++i)
    others.data<std::int64_t>()[i] = labels.data<std::int64_t>()[n - 1 - i];
  return others;
}

}  // namespace replk
