// Device: where a tensor's bytes live and its kernels run.
#pragma once

#include <ostream>

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

}  // namespace replk
