// The memory of the emulated GPU: one arena that can be touched only while a kernel or a copy runs, so that
// host code that follows a pointer into it ends with a segmentation fault, as it would beside a real GPU.
#pragma once

#include <cstddef>

namespace replk::emulated {

/// Memory aligned to 512 bytes, filled with 0xff; nullptr when there is none left.
void* take_device(std::size_t bytes);
void give_back_device(void* memory);
std::size_t device_bytes();  // in all
std::size_t device_bytes_free();

/// While one lives, device memory can be touched.
class DeviceAccess {
 public:
  DeviceAccess();
  ~DeviceAccess();
  DeviceAccess(const DeviceAccess&) = delete;
  DeviceAccess& operator=(const DeviceAccess&) = delete;
};

}  // namespace replk::emulated
