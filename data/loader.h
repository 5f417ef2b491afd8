// Loader: turns a data set into batches, in an order and with contents that depend on the seed alone.
#pragma once

#include <atomic>
#include <condition_variable>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <variant>
#include <vector>

#include "core/tensor.h"
#include "data/dataset.h"
#include "data/transforms.h"

namespace replk {

/// What one training step sees.
struct Batch {
  Tensor images;                      // u8 (N, H, W, C)
  Tensor labels;                      // i64 (N); of a mixed picture the one with the greater share
  Tensor targets;                     // f32 (N, classes) where a BatchTransform made some, else undefined
  std::vector<std::int64_t> indices;  // the samples' numbers in the data set, (N)
  std::int64_t epoch = 0;
  std::int64_t index = 0;  // of the batch in its epoch

  std::int64_t size() const { return static_cast<std::int64_t>(indices.size()); }
};

/// What happens to a whole batch after its samples were augmented (mixup): a function of the batch and its
/// step, epoch * batches + index, called from many threads.
using BatchTransform = std::function<void(Batch& batch, std::int64_t step)>;

struct LoaderParams {
  std::int64_t batch_size = 64;
  bool shuffle = false;
  bool drop_last = false;     // leave out a last batch that is not full
  int workers = 0;            // threads that prepare batches; 0 prepares them inside next()
  std::int64_t prefetch = 4;  // at most this many batches are ready or in preparation
  std::uint64_t seed = 0;
  bool pinned = false;  // images and labels in page-locked memory, from which a GPU takes them by itself
};

/// Yields the batches of one epoch at a time.
///
///     Loader loader(dataset, pipeline, {.batch_size = 64, .shuffle = true, .workers = 2});
///     for (int epoch = 0; epoch < epochs; ++epoch) {
///       loader.start(epoch);
///       while (auto batch = loader.next()) train(*batch);
///     }
///
/// Batch k of epoch e is a function of (seed, e, k): the order of an epoch is keyed by (seed, epoch), the
/// augmentation of a sample by (seed, epoch, sample), so neither the number of workers nor where a run was
/// resumed changes a byte. Each worker prepares whole batches; they are handed out in order.
/// To be used from one thread.
class Loader {
 public:
  /// Throws UsageError for parameters that leave nothing to load.
  Loader(std::shared_ptr<const Dataset> dataset, Pipeline pipeline, LoaderParams params,
         BatchTransform batch_transform = {});
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  const Dataset& dataset() const { return *dataset_; }
  const LoaderParams& params() const { return params_; }
  /// Batches of an epoch.
  std::int64_t batches() const;

  /// Begins epoch `epoch` at batch `first_batch`, dropping whatever was under way. Costs one permutation,
  /// however far in it starts.
  void start(std::int64_t epoch, std::int64_t first_batch = 0);
  /// The next batch, or nothing at the end of the epoch. Throws what went wrong with a sample, naming it; the
  /// call after that goes on with the following batch.
  std::optional<Batch> next();

 private:
  using Outcome = std::variant<Batch, std::exception_ptr>;

  Outcome prepare(std::int64_t batch_index) const;
  Batch make_batch(std::int64_t batch_index) const;
  Sample make_sample(std::int64_t index) const;
  Outcome take();
  void start_workers();
  void work();
  void stop() noexcept;

  std::shared_ptr<const Dataset> dataset_;
  Pipeline pipeline_;
  LoaderParams params_;
  BatchTransform batch_transform_;

  std::int64_t epoch_ = 0;
  std::vector<std::int64_t> order_;  // of this epoch; does not change while workers run
  std::int64_t next_out_ = 0;        // the batch that next() returns next
  std::int64_t end_ = 0;             // where the epoch ends; 0 before the first start

  // Between next() and the workers, under mutex_ (which also covers next_out_ while workers run).
  mutable std::mutex mutex_;
  std::condition_variable batch_ready_, room_ahead_;
  std::int64_t next_to_prepare_ = 0;
  std::map<std::int64_t, Outcome> ready_;
  std::atomic<bool> stopping_ = false;  // also ends the batches under way, which nobody wants any more
  std::vector<std::thread> workers_;
};

}  // namespace replk
