#include "core/upload.h"

#include <utility>

#include "core/cuda/transfer.h"
#include "core/dry_run.h"

namespace replk {

struct Upload::Flight {
  Tensor from, to;
  // Last, so that it is destroyed, and with it over, before the two tensors it copies between. Shared only so
  // that a build without CUDA need not know how to destroy it.
  std::shared_ptr<cuda::Transfer> transfer;
};

Upload::Upload() = default;
Upload::~Upload() = default;
Upload::Upload(Upload&&) noexcept = default;
Upload& Upload::operator=(Upload&&) noexcept = default;

Upload::Upload(const Tensor& from, Device device) : flight_(std::make_unique<Flight>()) {
  check(from.defined() && from.device().is_cpu(), "Upload: a tensor on the CPU expected, got ", from, ".");
  flight_->from = from;
  if (device.is_cpu()) {
    flight_->to = from;
    return;
  }
  flight_->to = Tensor::empty(from.shape(), from.dtype(), device);
  if (DryRun::current()) return;
  if constexpr (kHasCuda)
    flight_->transfer =
        std::make_shared<cuda::Transfer>(flight_->to.raw(), std::as_const(flight_->from).raw(), from.bytes());
}

Tensor Upload::get() {
  check(flight_ != nullptr, "Upload::get: nothing was started.");
  if constexpr (kHasCuda)
    if (flight_->transfer) flight_->transfer->join_compute();
  return flight_->to;
}

bool Upload::done() const {
  if constexpr (kHasCuda)
    if (flight_ && flight_->transfer) return flight_->transfer->done();
  return true;
}

}  // namespace replk
