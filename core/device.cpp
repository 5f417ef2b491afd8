#include "core/device.h"

#include "core/cuda/runtime.h"
#include "core/error.h"

namespace replk {

bool cuda_available() { return cuda_unavailable_reason().empty(); }

std::string cuda_unavailable_reason() {
  if constexpr (kHasCuda)
    return cuda::unavailable_reason();
  else
    return "this build has no CUDA (configure with -DREPLK_CUDA=ON)";
}

DeviceInfo device_info(Device device) {
  if (device.is_cpu()) return {.name = "CPU"};
  if constexpr (kHasCuda)
    return cuda::device_info(device);
  else
    throw Error(str("device_info: ", device, ": ", cuda_unavailable_reason(), "."));
}

void synchronize(Device device) {
  if constexpr (kHasCuda)
    if (!device.is_cpu()) cuda::synchronize(device);
}

}  // namespace replk
