#include "scripts/replk/merge_comparison.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/random.h"
#include "data/loader.h"
#include "data/subset.h"
#include "ops/normalize_images/normalize_images.h"
#include "scripts/replk/compute.h"
#include "scripts/replk/evaluate.h"

namespace replk {
namespace {

// As many images as take about as much time as 64 of 28x28.
std::int64_t batch_size_for(const ModelCard& card) {
  return std::clamp<std::int64_t>(64 * 28 * 28 / (card.height * card.width), 1, 64);
}

}  // namespace

Samples random_images(const ModelCard& card, std::int64_t count) {
  Samples samples{.name = "random images", .batches = {}};
  Random random(0, stream_of("reparam"));
  const std::int64_t batch = batch_size_for(card);
  for (std::int64_t done = 0; done < count; done += batch) {
    Tensor images =
        Tensor::empty({std::min(batch, count - done), card.height, card.width, card.channels}, DType::u8);
    for (std::int64_t i = 0; i < images.numel(); ++i)
      images.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(random.next());
    samples.batches.push_back(normalize_images(images, card.mean, card.std));
  }
  return samples;
}

Samples dataset_images(std::shared_ptr<const Dataset> dataset, const ModelCard& card, std::int64_t count) {
  Samples samples{.name = dataset->name(), .batches = {}};
  const auto part = random_samples(dataset, std::min(count, dataset->size()), /*seed=*/0);
  Loader loader(part, evaluation_pipeline(card), {.batch_size = batch_size_for(card)});
  loader.start(0);
  while (const auto batch = loader.next())
    samples.batches.push_back(normalize_images(batch->images, card.mean, card.std));
  return samples;
}

Comparison compare(RepLKNet& before, RepLKNet& after, const Samples& samples) {
  Comparison result;
  double largest = 0, difference = 0;
  for (const Tensor& batch : samples.batches) {
    const Tensor there = batch.to(before.device());
    const Tensor a = before(there).data().to(Device::cpu()), b = after(there).data().to(Device::cpu());
    const std::int64_t classes = a.size(1);
    for (std::int64_t n = 0; n < a.size(0); ++n) {
      const float *x = a.data<float>() + n * classes, *y = b.data<float>() + n * classes;
      for (std::int64_t k = 0; k < classes; ++k) {
        const double gap = std::abs(static_cast<double>(x[k]) - static_cast<double>(y[k]));
        if (std::isnan(gap) || gap > difference) difference = gap;  // no gap is larger than NaN: it stays
        largest = std::max(largest, std::abs(static_cast<double>(x[k])));
      }
      result.agreeing += std::max_element(x, x + classes) - x == std::max_element(y, y + classes) - y;
      ++result.images;
    }
  }
  result.difference = difference == 0 ? 0 : difference / largest;
  return result;
}

std::vector<double> measure_speed(const std::vector<RepLKNet*>& networks, const Tensor& batch) {
  constexpr double kSecondsEach = 0.75;
  constexpr int kFewest = 3;
  using Clock = std::chrono::steady_clock;
  std::vector<double> best(networks.size(), 1e9);
  double total = 0;
  const double enough = kSecondsEach * static_cast<double>(networks.size());
  for (int run = 0; run < kFewest || total < enough; ++run)
    for (std::size_t i = 0; i < networks.size(); ++i) {
      const auto start = Clock::now();
      (*networks[i])(batch);
      synchronize(batch.device());
      const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
      best[i] = std::min(best[i], seconds);
      total += seconds;
    }
  for (double& seconds : best) seconds = static_cast<double>(batch.size(1)) / seconds;
  return best;
}

}  // namespace replk
