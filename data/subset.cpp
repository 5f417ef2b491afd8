#include "data/subset.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "data/sampler.h"

namespace replk {
namespace {

void check_count(const Dataset& dataset, std::int64_t count, std::int64_t most) {
  if (count < 1 || count > most)
    throw UsageError(
        str(dataset.name(), ": a number of samples in [1, ", most, "] expected, got ", count, "."));
}

// The first `count` of a shuffled list of all samples, in their original order; then the others, likewise.
std::vector<std::int64_t> chosen_first(std::int64_t size, std::int64_t count, Random random) {
  auto indices = permutation(size, random);
  std::sort(indices.begin(), indices.begin() + count);
  std::sort(indices.begin() + count, indices.end());
  return indices;
}

}  // namespace

Subset::Subset(std::shared_ptr<const Dataset> dataset, std::vector<std::int64_t> indices)
    : dataset_(std::move(dataset)), indices_(std::move(indices)) {
  for (const std::int64_t index : indices_)
    check(index >= 0 && index < dataset_->size(), dataset_->name(), ": a sample in [0, ", dataset_->size(),
          ") expected, got ", index, ".");
}

std::int64_t Subset::original(std::int64_t index) const {
  check_index(index);
  return indices_[static_cast<std::size_t>(index)];
}

std::shared_ptr<const Dataset> first_samples(std::shared_ptr<const Dataset> dataset, std::int64_t count) {
  check_count(*dataset, count, dataset->size());
  std::vector<std::int64_t> indices(static_cast<std::size_t>(count));
  std::iota(indices.begin(), indices.end(), 0);
  return std::make_shared<Subset>(std::move(dataset), std::move(indices));
}

std::shared_ptr<const Dataset> random_samples(std::shared_ptr<const Dataset> dataset, std::int64_t count,
                                              std::uint64_t seed) {
  check_count(*dataset, count, dataset->size());
  auto indices = chosen_first(dataset->size(), count, Random(seed, stream_of("random_samples")));
  indices.resize(static_cast<std::size_t>(count));
  return std::make_shared<Subset>(std::move(dataset), std::move(indices));
}

TrainValidation split_validation(std::shared_ptr<const Dataset> dataset, std::int64_t count,
                                 std::uint64_t seed) {
  check_count(*dataset, count, dataset->size() - 1);
  const auto indices = chosen_first(dataset->size(), count, Random(seed, stream_of("split_validation")));
  const auto middle = indices.begin() + count;
  return {.train = std::make_shared<Subset>(dataset, std::vector(middle, indices.end())),
          .validation = std::make_shared<Subset>(dataset, std::vector(indices.begin(), middle))};
}

}  // namespace replk
