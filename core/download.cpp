#include "core/download.h"

#include <utility>

#include "core/cuda/transfer.h"
#include "core/dry_run.h"

namespace replk {

struct Download::Flight {
  Tensor from, to;
  // Last, so that it is destroyed, and with it over, before the two tensors it copies between (see Upload).
  std::shared_ptr<cuda::Transfer> transfer;
};

Download::Download() = default;
Download::~Download() = default;
Download::Download(Download&&) noexcept = default;
Download& Download::operator=(Download&&) noexcept = default;

Download::Download(const Tensor& from) : flight_(std::make_unique<Flight>()) {
  check(from.defined(), "Download: a tensor expected, got none.");
  flight_->from = from;
  if (from.device().is_cpu()) {
    flight_->to = from;
    return;
  }
  flight_->to = Tensor::pinned(from.shape(), from.dtype());
  if (DryRun::current()) return;
  if constexpr (kHasCuda)
    flight_->transfer =
        std::make_shared<cuda::Transfer>(flight_->to.raw(), std::as_const(flight_->from).raw(), from.bytes());
}

Tensor Download::get() {
  check(flight_ != nullptr, "Download::get: nothing was started.");
  if constexpr (kHasCuda)
    if (flight_->transfer) flight_->transfer->wait();
  return flight_->to;
}

}  // namespace replk
