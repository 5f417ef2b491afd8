// Device: where a tensor's bytes live and its kernels run.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>

namespace replk {

/// True when this build contains the CUDA kernels (CMake option REPLK_CUDA).
inline constexpr bool kHasCuda = REPLK_HAS_CUDA;

struct Device {
  enum class Type { cpu, cuda };
  Type type = Type::cpu;
  int index = 0;

  static Device cpu() { return {}; }
  static Device cuda(int index = 0) { return {Type::cuda, index}; }
  bool is_cpu() const { return type == Type::cpu; }
  friend bool operator==(const Device&, const Device&) = default;
};

/// "cpu", "cuda:0"
inline std::ostream& operator<<(std::ostream& out, Device device) {
  return device.is_cpu() ? out << "cpu" : out << "cuda:" << device.index;
}

/// True when this build has CUDA and this machine a GPU that it can use. Never throws.
bool cuda_available();
/// Why cuda_available() is false, as the end of a sentence: "this build has no CUDA". Empty when it is true.
std::string cuda_unavailable_reason();

/// What a device is, for tables and messages. On the CPU only `name` is set.
struct DeviceInfo {
  std::string name;  // "NVIDIA H100 80GB HBM3", "CPU"
  int compute_capability_major = 0, compute_capability_minor = 0;
  int multiprocessors = 0;
  std::int64_t total_bytes = 0, free_bytes = 0;
};
/// Throws Error for a device this build or this machine does not have.
DeviceInfo device_info(Device device);

/// Returns when everything given to the device is done; throws Error naming what failed there. At once on the
/// CPU. For clocks and tests: a training step needs it nowhere.
void synchronize(Device device);

}  // namespace replk
