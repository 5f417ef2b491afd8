#include "scripts/replk/compute.h"

#include <array>

#include "core/error.h"
#include "core/nearest_name.h"
#include "core/parallel.h"
#include "core/precision.h"

namespace replk {
namespace {

const std::array<std::string, 3> kDevices = {"auto", "cpu", "cuda"};
const std::array<std::string, 3> kPrecisions = {"fp32", "tf32", "bf16"};

}  // namespace

void add_device_flag(CLI::App& command, ComputeFlags& flags) {
  command
      .add_option("--device", flags.device, "Where to compute: auto (a GPU where there is one), cpu or cuda")
      ->type_name("NAME")
      ->capture_default_str();
}

void add_compute_flags(CLI::App& command, ComputeFlags& flags) {
  add_device_flag(command, flags);
  command
      .add_option("--precision", flags.precision,
                  "fp32; on a GPU also tf32 (faster products) or bf16 (activations in bf16, weights in f32)")
      ->type_name("NAME")
      ->capture_default_str();
}

std::string Compute::describe() const {
  if (device.is_cpu())
    return str("the CPU with ", num_threads(), num_threads() == 1 ? " thread" : " threads");
  return str(device, " (", device_info(device).name, "), ", precision);
}

void validate(const ComputeFlags& flags) {
  require_name("--device", flags.device, kDevices);
  require_name("--precision", flags.precision, kPrecisions);
  if (flags.device == "cpu" && flags.precision != "fp32")
    throw UsageError(str("--precision: fp32 expected on the CPU, got ", flags.precision, "."));
}

Compute resolve_compute(const ComputeFlags& flags) {
  validate(flags);
  if (flags.device == "cuda" && !cuda_available())
    throw UsageError(str("--device cuda: ", cuda_unavailable_reason(), ". Use --device cpu."));
  Compute compute;
  if (flags.device != "cpu" && cuda_available()) compute.device = Device::cuda();
  if (compute.device.is_cpu() && flags.precision != "fp32")
    throw UsageError(str("--precision ", flags.precision, ": needs a GPU, and ", cuda_unavailable_reason(),
                         ". Use --precision fp32."));
  compute.precision = flags.precision;
  if (flags.precision == "bf16") compute.activations = DType::bf16;
  set_precision(flags.precision == "fp32" ? Precision::fp32 : Precision::tf32);
  return compute;
}

}  // namespace replk
