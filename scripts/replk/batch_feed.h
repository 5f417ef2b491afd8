// BatchFeed: the batches of a loader where the network computes.
#pragma once

#include <optional>

#include "core/device.h"
#include "core/upload.h"
#include "data/loader.h"

namespace replk {

/// A batch, and its images, labels and targets on the device: u8 (N, H, W, C), i64 (N), and f32 (N, classes)
/// or undefined.
struct DeviceBatch {
  Batch host;
  Tensor images, labels, targets;
};
/// Copies them there (on the CPU nothing is copied).
DeviceBatch on_device(Batch batch, Device device);
/// Batches that may be computed while the next one is prepared: a GPU works by itself.
inline std::size_t most_in_flight(Device device) { return device.is_cpu() ? 0 : 1; }

/// On a GPU the next batch travels while the device works on this one. To be used from one thread; the loader
/// must have been started and outlive it.
class BatchFeed {
 public:
  BatchFeed(Loader& loader, Device device) : loader_(loader), device_(device) {}
  /// As Loader::next.
  std::optional<DeviceBatch> next();

 private:
  struct Flight {
    Batch host;
    Upload images, labels, targets;
  };
  void fetch();

  Loader& loader_;
  Device device_;
  std::optional<Flight> coming_;
  bool started_ = false;
};

}  // namespace replk
