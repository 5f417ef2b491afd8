// What the rest of core asks of the GPU, in plain C++. Defined only in a build with CUDA: use it inside
// `if constexpr (kHasCuda)`.
#pragma once

#include "core/allocator.h"
#include "core/dtype.h"

namespace replk::cuda {

/// Why no GPU can be used, as the end of a sentence; empty when one can. Never throws.
std::string unavailable_reason();
DeviceInfo device_info(Device device);
/// Whether REPLK_SYNC=1 asks to wait for each kernel (check_launch).
bool waits_for_every_kernel();
/// Waits for all streams.
void synchronize(Device device);

Allocator& device_allocator(Device device);
Allocator& pinned_allocator();

/// Copies in the order of the compute stream. Between two places on the device, the host does not wait; when
/// the CPU is one of the two, the bytes have been read or written when it returns.
void copy_bytes(void* to, Device to_device, const void* from, Device from_device, std::size_t bytes);

/// Sets `count` elements on the device, in the order of the compute stream.
void fill(void* memory, DType dtype, std::int64_t count, double value);

}  // namespace replk::cuda
