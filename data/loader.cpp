#include "data/loader.h"

#include <algorithm>
#include <system_error>

#include "core/error.h"
#include "core/profile.h"
#include "data/sampler.h"

namespace replk {
namespace {

constexpr int kMaxWorkers = 256;

// The message of an error about a sample, with the sample's name in it once.
std::string named(const std::string& sample, const char* message) {
  const std::string text = message;
  return text.find(sample) == std::string::npos ? str(sample, ": ", text) : text;
}

}  // namespace

Loader::Loader(std::shared_ptr<const Dataset> dataset, Pipeline pipeline, LoaderParams params,
               BatchTransform batch_transform)
    : dataset_(std::move(dataset)),
      pipeline_(std::move(pipeline)),
      params_(params),
      batch_transform_(std::move(batch_transform)) {
  const auto require = [](bool condition, const auto&... message) {
    if (!condition) throw UsageError(str("loader: ", message...));
  };
  require(params_.batch_size >= 1, "a batch size of at least 1 expected, got ", params_.batch_size, ".");
  require(params_.workers >= 0 && params_.workers <= kMaxWorkers, "0 to ", kMaxWorkers,
          " workers expected, got ", params_.workers, ".");
  require(params_.prefetch >= 1, "a prefetch of at least 1 batch expected, got ", params_.prefetch, ".");
  require(batches() >= 1, "a whole batch of ", params_.batch_size, " expected in ", dataset_->name(),
          ", which has ", dataset_->size(), " samples. Use a smaller batch.");
}

Loader::~Loader() { stop(); }

std::int64_t Loader::batches() const {
  const std::int64_t full = dataset_->size() / params_.batch_size;
  const bool rest = dataset_->size() % params_.batch_size != 0 && !params_.drop_last;
  return full + rest;
}

void Loader::start(std::int64_t epoch, std::int64_t first_batch) {
  check(epoch >= 0 && first_batch >= 0 && first_batch <= batches(),
        "loader: an epoch from 0 and a batch in [0, ", batches(), "] expected, got epoch ", epoch, ", batch ",
        first_batch, ".");
  stop();
  epoch_ = epoch;
  order_ = epoch_order(dataset_->size(), params_.shuffle, params_.seed, epoch);
  next_out_ = next_to_prepare_ = first_batch;
  end_ = batches();
  start_workers();
}

std::optional<Batch> Loader::next() {
  const ProfileScope scope("data");
  if (next_out_ >= end_) return std::nullopt;
  Outcome outcome = workers_.empty() ? prepare(next_out_++) : take();
  if (const auto* error = std::get_if<std::exception_ptr>(&outcome)) std::rethrow_exception(*error);
  return std::move(std::get<Batch>(outcome));
}

Sample Loader::make_sample(std::int64_t index) const {
  try {
    Sample sample = dataset_->get(index);
    Random random = sample_random(params_.seed, epoch_, index);
    sample.image = pipeline_(std::move(sample.image), random);
    return sample;
  } catch (const FileError& error) {
    throw FileError(named(dataset_->sample_name(index), error.what()));
  } catch (const std::exception& error) {
    throw Error(named(dataset_->sample_name(index), error.what()));
  }
}

Batch Loader::make_batch(std::int64_t batch_index) const {
  const std::int64_t begin = batch_index * params_.batch_size;
  const std::int64_t end = std::min(begin + params_.batch_size, dataset_->size());
  Batch batch;
  batch.epoch = epoch_;
  batch.index = batch_index;
  batch.indices.assign(order_.begin() + begin, order_.begin() + end);
  const auto memory = [&](const Shape& shape, DType dtype) {
    return params_.pinned ? Tensor::pinned(shape, dtype) : Tensor::empty(shape, dtype);
  };
  batch.labels = memory({end - begin}, DType::i64);
  Image first;
  for (std::int64_t i = 0; i < end - begin && !stopping_; ++i) {
    const std::int64_t index = batch.indices[static_cast<std::size_t>(i)];
    Sample sample = make_sample(index);
    const Image& image = sample.image;
    if (i == 0) {
      batch.images = memory({end - begin, image.height, image.width, image.channels}, DType::u8);
      first = {image.height, image.width, image.channels, {}};
    }
    check(image.height == first.height && image.width == first.width && image.channels == first.channels,
          dataset_->sample_name(index), ": an image of ", first, " expected, like ",
          dataset_->sample_name(batch.indices[0]), ", got ", image, ". Resize or crop all to one size.");
    std::copy(image.pixels.begin(), image.pixels.end(),
              batch.images.data<std::uint8_t>() + i * static_cast<std::int64_t>(image.pixels.size()));
    batch.labels.data<std::int64_t>()[i] = sample.label;
  }
  if (batch_transform_ && !stopping_) batch_transform_(batch, epoch_ * batches() + batch_index);
  return batch;
}

Loader::Outcome Loader::prepare(std::int64_t batch_index) const {
  try {
    return make_batch(batch_index);
  } catch (...) {
    return std::current_exception();
  }
}

Loader::Outcome Loader::take() {
  std::unique_lock lock(mutex_);
  batch_ready_.wait(lock, [&] { return ready_.contains(next_out_); });
  auto node = ready_.extract(next_out_++);
  room_ahead_.notify_one();
  return std::move(node.mapped());
}

void Loader::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    room_ahead_.wait(lock, [&] {
      return stopping_ || next_to_prepare_ >= end_ || next_to_prepare_ < next_out_ + params_.prefetch;
    });
    if (stopping_ || next_to_prepare_ >= end_) return;
    const std::int64_t batch_index = next_to_prepare_++;
    lock.unlock();
    Outcome outcome = prepare(batch_index);
    lock.lock();
    ready_.emplace(batch_index, std::move(outcome));
    batch_ready_.notify_one();
  }
}

void Loader::start_workers() {
  const auto wanted = std::min<std::int64_t>(params_.workers, end_ - next_out_);
  try {
    for (std::int64_t i = 0; i < wanted; ++i) workers_.emplace_back([this] { work(); });
  } catch (const std::system_error&) {
    // Fewer workers give the same batches; without any, next() prepares them itself.
  }
}

void Loader::stop() noexcept {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  room_ahead_.notify_all();
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
  ready_.clear();
  stopping_ = false;
}

}  // namespace replk
