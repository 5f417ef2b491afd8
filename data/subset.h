// Decorators that show a part of a data set.
#pragma once

#include <memory>
#include <utility>

#include "data/dataset.h"

namespace replk {

/// The samples `indices` of a data set, in that order, under new numbers 0, 1, ...
class Subset final : public Dataset {
 public:
  /// Throws Error when an index is outside the data set.
  Subset(std::shared_ptr<const Dataset> dataset, std::vector<std::int64_t> indices);

  std::string name() const override { return dataset_->name(); }
  const std::vector<std::string>& classes() const override { return dataset_->classes(); }
  std::int64_t size() const override { return static_cast<std::int64_t>(indices_.size()); }
  Sample get(std::int64_t index) const override { return dataset_->get(original(index)); }
  std::int64_t label(std::int64_t index) const override { return dataset_->label(original(index)); }
  std::string sample_name(std::int64_t index) const override {
    return dataset_->sample_name(original(index));
  }

  /// The number of sample `index` in the data set underneath.
  std::int64_t original(std::int64_t index) const;

 private:
  std::shared_ptr<const Dataset> dataset_;
  std::vector<std::int64_t> indices_;
};

/// The first `count` samples. Throws UsageError unless count is in [1, size].
std::shared_ptr<const Dataset> first_samples(std::shared_ptr<const Dataset> dataset, std::int64_t count);

/// `count` samples chosen by `seed`, in their original order.
std::shared_ptr<const Dataset> random_samples(std::shared_ptr<const Dataset> dataset, std::int64_t count,
                                              std::uint64_t seed);

struct TrainValidation {
  std::shared_ptr<const Dataset> train, validation;
};

/// Takes `count` samples chosen by `seed` out for validation; the same (seed, count) always gives the same
/// two parts. Throws UsageError unless count is in [1, size - 1].
TrainValidation split_validation(std::shared_ptr<const Dataset> dataset, std::int64_t count,
                                 std::uint64_t seed);

}  // namespace replk
