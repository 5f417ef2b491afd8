#include "scripts/replk/batch_feed.h"

#include <utility>

namespace replk {

DeviceBatch on_device(Batch batch, Device device) {
  Tensor images = batch.images.to(device), labels = batch.labels.to(device);
  Tensor targets = batch.targets.defined() ? batch.targets.to(device) : Tensor();
  return {std::move(batch), std::move(images), std::move(labels), std::move(targets)};
}

void BatchFeed::fetch() {
  coming_.reset();
  if (auto batch = loader_.next()) {
    Upload images(batch->images, device_), labels(batch->labels, device_);
    Upload targets = batch->targets.defined() ? Upload(batch->targets, device_) : Upload();
    coming_ = {std::move(*batch), std::move(images), std::move(labels), std::move(targets)};
  }
}

std::optional<DeviceBatch> BatchFeed::next() {
  if (device_.is_cpu()) {
    auto batch = loader_.next();
    return batch ? std::optional(on_device(std::move(*batch), device_)) : std::nullopt;
  }
  if (!std::exchange(started_, true)) fetch();
  if (!coming_) return std::nullopt;
  const bool soft = coming_->host.targets.defined();
  DeviceBatch batch{std::move(coming_->host), coming_->images.get(), coming_->labels.get(),
                    soft ? coming_->targets.get() : Tensor()};
  // Before the step of this batch is launched: an upload waits for what was launched earlier.
  fetch();
  return batch;
}

}  // namespace replk
